#include "server/observe/origin.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "server/config/listen_address.h"

namespace redlock::observe {
namespace {

void ExpectBack(const OriginParts& parts) {
  const Origin origin = Encode(parts);
  EXPECT_EQ(std::ranges::count(origin.str(), ' '), 2) << origin.str();
  EXPECT_LE(origin.str().size(), kMaxOriginBytes);
  const OriginParts decoded = Decode(origin);
  EXPECT_EQ(decoded.daemon, parts.daemon);
  EXPECT_EQ(decoded.identity, parts.identity);
  EXPECT_EQ(decoded.peer, parts.peer);
}

TEST(OriginText, DecodesToWhatWasEncoded) {
  ExpectBack({.daemon = "host:50051", .identity = "billing", .peer = "ipv4:10.0.0.1:4711"});
  ExpectBack({.daemon = "host", .identity = "", .peer = "unix:"});
  ExpectBack({.daemon = "", .identity = "CN=a b, O=100 %\n", .peer = "ipv6:%5B::1%5D:4711"});
  ExpectBack({.daemon = "h", .identity = "J\xc3\xbcrgen", .peer = "-a"});
  EXPECT_EQ(Decode(Origin()).peer, "");
}

TEST(OriginText, IsCutIfItIsTooLong) {
  const std::string umlauts(400, '\xc3');
  const Origin origin = Encode({.daemon = std::string(500, 'd'), .identity = umlauts, .peer = "p"});
  EXPECT_LE(origin.str().size(), kMaxOriginBytes);
  EXPECT_EQ(Decode(origin).peer, "p");
  EXPECT_EQ(Decode(origin).daemon, std::string(104, 'd'));
}

TEST(OriginText, DecodesToUtf8WhateverAnotherProgramWrote) {
  EXPECT_EQ(Decode(Origin("%ff%41 %4 %zz")).daemon, "");
  EXPECT_EQ(Decode(Origin("a %4 %zz")).identity, "%4");
  EXPECT_EQ(Decode(Origin("a %4 %zz")).peer, "%zz");
  EXPECT_EQ(Decode(Origin("a")).peer, "");
}

TEST(OriginText, TheAgeOfALockIsNeverNegative) {
  EXPECT_FALSE(HeldFor({}));
  EXPECT_EQ(HeldFor({.label = {}, .origin = {}, .since = Duration::max()}), Duration::zero());
}

TEST(DaemonName, HasTheFirstPortThatIsGiven) {
  const auto port_of = [](const std::string& name) { return name.substr(name.rfind(':') + 1); };
  EXPECT_EQ(port_of(config::DaemonName({"unix:/run/x", "127.0.0.1:0", "[::1]:77", "h:78"})), "77");
  EXPECT_EQ(config::DaemonName({"unix:/run/x"}).find(':'), std::string::npos);
}

}  // namespace
}  // namespace redlock::observe
