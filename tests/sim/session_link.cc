#include "tests/sim/session_link.h"

#include <utility>

namespace redlock::sim {

std::shared_ptr<SessionHost> Fleet::Accept(std::size_t daemon, SessionHost::Send send,
                                           SessionHost::Over over) {
  auto host =
      std::make_shared<SessionHost>(cluster_.shard(daemon), std::move(send), std::move(over));
  world_.Keep(host);
  hosts_[daemon].push_back(host);
  return host;
}

void Fleet::Drain(std::size_t daemon, Duration time_to_move, Duration until_next) {
  if (!cluster_.is_up(daemon)) return;
  const int process = processes_[daemon];
  draining_[daemon] = true;
  cluster_.scheduler(daemon).Run([this, daemon, process] {
    if (process != processes_[daemon]) return;
    cluster_.shard(daemon).Drain();
    for (const auto& one : hosts_[daemon]) {
      if (const auto host = one.lock()) host->Drain();
    }
  });
  world_.Do(time_to_move, [this, daemon, process, until_next] {
    if (process != processes_[daemon] || !cluster_.is_up(daemon)) return;
    for (const auto& one : hosts_[daemon]) {
      if (const auto host = one.lock()) host->Expel();
    }
    Kill(daemon, until_next);
  });
}

void Fleet::Kill(std::size_t daemon, Duration until_next) {
  if (!cluster_.is_up(daemon)) return;
  cluster_.Kill(daemon);
  ForEachLink([this, daemon](SessionLink& link) {
    if (link.daemon() == daemon && world_.Chance(0.8)) link.Break();
  });
  hosts_[daemon].clear();
  ++processes_[daemon];
  draining_[daemon] = false;
  world_.Do(until_next, [this, daemon] { cluster_.Start(daemon); });
}

void Fleet::ForEachLink(const std::function<void(SessionLink&)>& visit) {
  std::erase_if(links_, [](const auto& link) { return link.expired(); });
  const auto links = links_;
  for (const auto& one : links) {
    if (const auto link = one.lock()) visit(*link);
  }
}

SessionLink::SessionLink(Fleet& fleet, std::size_t daemon, WorldScheduler& client,
                         ToClient to_client)
    : fleet_(fleet),
      world_(fleet.world()),
      daemon_(daemon),
      process_(fleet.process(daemon)),
      client_(client),
      to_client_(std::move(to_client)) {}

std::shared_ptr<SessionLink> SessionLink::Open(Fleet& fleet, std::size_t daemon,
                                               WorldScheduler& client, ToClient to_client) {
  std::shared_ptr<SessionLink> link(new SessionLink(fleet, daemon, client, std::move(to_client)));
  fleet.Add(link);
  link->Connect();
  return link;
}

Duration SessionLink::Delay() {
  const StreamFaults& faults = fleet_.faults();
  Duration delay = world_.Between(faults.least_delay, faults.most_delay);
  if (faults.slow > 0 && world_.Chance(faults.slow)) delay += world_.Between({}, faults.slow_delay);
  return delay;
}

Duration SessionLink::InOrder(MonotonicTime& last) {
  last = std::max(last, world_.now() + Delay());
  return last - world_.now();
}

bool SessionLink::DaemonLives() const {
  return process_ == fleet_.process(daemon_) && fleet_.cluster().is_up(daemon_);
}

void SessionLink::Connect() {
  world_.Do(InOrder(last_to_daemon_), [self = shared_from_this()] {
    if (!self->DaemonLives()) {
      self->world_.Do(self->Delay(), [self] { self->EndClient("connection refused"); });
      return;
    }
    self->fleet_.cluster().scheduler(self->daemon_).Run([self] {
      self->host_ = self->fleet_.Accept(
          self->daemon_, [self](client::Response response) { self->Deliver(std::move(response)); },
          [weak = std::weak_ptr<SessionLink>(self)] {
            const auto link = weak.lock();
            if (!link || link->cut_to_client_) return;
            link->world_.Do(link->InOrder(link->last_to_client_),
                            [link] { link->EndClient("the daemon ended the stream"); });
          });
    });
  });
}

// If the daemon is suspended, it reads the message when it resumes.
void SessionLink::ToDaemon(std::function<void(SessionHost&)> work) {
  if (cut_to_daemon_) return;
  world_.Do(InOrder(last_to_daemon_), [self = shared_from_this(), work = std::move(work)] {
    if (self->cut_to_daemon_ || !self->DaemonLives()) return;
    self->fleet_.cluster().scheduler(self->daemon_).Run([self, work] {
      if (const auto host = self->host_.lock()) work(*host);
    });
  });
}

void SessionLink::Write(client::Request request) {
  ToDaemon([request = std::move(request)](SessionHost& host) { host.OnMessage(request); });
  world_.Do(world_.Between({}, microseconds(20)), [self = shared_from_this()] {
    self->client_.Run([self] {
      if (!self->client_over_) self->to_client_.written();
    });
  });
}

void SessionLink::Cancel() {
  client_over_ = true;
  ToDaemon([](SessionHost& host) { host.OnBroken(); });
}

void SessionLink::Deliver(client::Response response) {
  if (cut_to_client_) return;
  world_.Do(InOrder(last_to_client_), [self = shared_from_this(), response = std::move(response)] {
    if (self->cut_to_client_) return;
    self->client_.Run([self, response] {
      if (!self->client_over_) self->to_client_.message(response);
    });
  });
}

void SessionLink::EndClient(const std::string& why) {
  client_.Run([self = shared_from_this(), why] {
    if (!std::exchange(self->client_over_, true)) self->to_client_.ended(why);
  });
}

void SessionLink::Cut(Direction direction) {
  (direction == Direction::kToDaemon ? cut_to_daemon_ : cut_to_client_) = true;
}

void SessionLink::Break() {
  if (!cut_to_client_) {
    world_.Do(Delay(), [self = shared_from_this()] { self->EndClient("connection reset"); });
  }
  ToDaemon([](SessionHost& host) { host.OnBroken(); });
  // Nothing else gets through.
  cut_to_client_ = true;
  world_.Do(fleet_.faults().most_delay + milliseconds(1),
            [self = shared_from_this()] { self->cut_to_daemon_ = true; });
}

}  // namespace redlock::sim
