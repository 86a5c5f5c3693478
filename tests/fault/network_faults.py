"""Network faults between two processes: a daemon and a node, or a worker and a daemon."""

import itertools
import subprocess

import limits

RECONNECT = 1.8  # as in faults.py
# The kernel retransmits packets that the filter dropped after increasing pauses.
RETRANSMIT = 2


class Link:
    """One proxy in a process of proxies."""

    def __init__(self, name, proxies, index):
        self.name = name  # as in `impaired`
        self.host, self.port = proxies.host, proxies.ports[index]
        self.proxies = proxies
        self.index = index

    def command(self, command):
        self.proxies.command(self.index, command)


class NetworkFaults:
    def network(self):
        kinds = [self.link_delayed, self.link_frozen, self.link_reset, self.link_one_way]
        kinds += [
            self.client_delayed, self.client_frozen, self.client_reset, self.client_one_way,
            self.client_cut_off,
        ]
        return kinds + ([self.link_filtered, self.client_filtered] if self.packet_filter else [])

    def links(self):
        """Returns the links between daemons and nodes."""
        pairs = itertools.product(enumerate(self.cluster.node_links), range(len(self.cluster.nodes)))
        return [Link(f"link {daemon} {node}", proxies, node) for (daemon, proxies), node in pairs]

    def client_links(self, worker=None):
        """Returns the links between workers and daemons."""
        rows = zip(self.cluster.workers, self.cluster.client_links)
        return [
            Link(f"client {each.name} {daemon}", proxies, daemon)
            for each, proxies in rows
            for daemon in range(len(self.cluster.daemons))
            if worker is None or each is worker
        ]

    def disturb(self, links, command, seconds):
        """Applies the command to one of these links that no other fault affects."""
        free = [link for link in links if ("link", link.name) not in self.busy]
        if not free:
            return None
        link = self.random.choice(free)
        self.impair(link.name, seconds + RECONNECT)
        link.command(command)
        return seconds, self.hold("link", link.name, lambda: link.command("pass"))

    def delayed(self, links):
        return self.disturb(links, f"delay {self.random.uniform(0.001, 0.1)}", self.fault_time())

    def one_way(self, links):
        return self.disturb(links, self.random.choice(["requests", "replies"]), self.fault_time())

    def filtered(self, links):
        """The packet filter drops one or both directions; neither side gets an error."""
        free = [link for link in links if ("link", link.name) not in self.busy]
        if not free:
            return None
        link = self.random.choice(free)
        to, back = ["-d", link.host, "--dport"], ["-s", link.host, "--sport"]
        sides = self.random.choice([[to], [back], [to, back]])
        rules = [["INPUT", "-i", "lo", "-p", "tcp", *side, str(link.port), "-j", "DROP"]
                 for side in sides]
        seconds = self.fault_time()
        self.impair(link.name, seconds + RECONNECT + RETRANSMIT)
        for rule in rules:
            subprocess.run(["iptables", "-A", *rule], check=True)

        def undo():
            for rule in rules:
                subprocess.run(["iptables", "-D", *rule], check=True)

        return seconds, self.hold("link", link.name, undo)

    def link_delayed(self):
        return self.delayed(self.links())

    def link_frozen(self):
        return self.disturb(self.links(), "freeze", self.fault_time())

    def link_reset(self):
        return self.disturb(self.links(), "reset", 0)

    def link_one_way(self):
        return self.one_way(self.links())

    def link_filtered(self):
        return self.filtered(self.links())

    def client_delayed(self):
        return self.delayed(self.client_links())

    def client_frozen(self):
        return self.disturb(self.client_links(), "freeze", self.fault_time())

    def client_reset(self):
        return self.disturb(self.client_links(), "reset", 0)

    def client_one_way(self):
        return self.one_way(self.client_links())

    def client_filtered(self):
        return self.filtered(self.client_links())

    def client_cut_off(self):
        """Cuts one worker off from all daemons in both directions."""
        index = self.pick("worker", len(self.cluster.workers))
        if index is None:
            return None
        worker = self.cluster.workers[index]
        links = self.client_links(worker)
        if any(("link", link.name) in self.busy for link in links):
            return None
        seconds = self.random.uniform(0.1, 2 * limits.GRACE)
        undo = []
        for link in links:
            self.impair(link.name, seconds + RECONNECT)
            link.command("freeze")
            undo.append(self.hold("link", link.name, lambda link=link: link.command("pass")))
        return seconds, lambda: [each() for each in undo]
