// Tokens and the access list: which clients are admitted, what they may do, and how an invalid file
// is rejected.
#include "server/access/access.h"

#include <gtest/gtest.h>

#include <fstream>

#include "server/core/pattern.h"
#include "tests/support/process.h"

namespace redlock::access {
namespace {

// As printed by `redlockctl token ci`.
const std::string kToken = "ci.de7ab67e2ee557bf8543e6c751f3067766344714e0125e68666bbc0d2f7e2b13";
const std::string kLine =
    "ci 658cd882b73f693cfcbf8228da791fe9 "
    "734c82ed9675707e2b2bfe395eed21c330cdc4fc89702e044f9bbbe5eda89d85";

// A second and a third token of the same identity.
const std::string kNewToken = "ci." + std::string(64, '0');
const std::string kNewLine =
    "ci 00ff f0f7161585a7ea2f69d5f4605105195ab46d44433dece69cc1bdec00bba2f5e9";
const std::string kThirdLine = "ci 11ee " + std::string(64, 'a');

template <typename File>
std::string Refusal(const std::string& text) {
  try {
    (void)File::Parse(text);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "(accepted)";
}

#define EXPECT_CONTAINS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

// The identity that the token proves, or "".
std::string IdentityOf(const TokenFile& file, const std::string& token) {
  const auto match = file.Find(token);
  return match ? match->identity : "";
}

TEST(TokenFile, IdentifiesATokenByItsHash) {
  const TokenFile file = TokenFile::Parse("# who\n\n" + kLine + "  # the build\n");
  EXPECT_EQ(IdentityOf(file, kToken), "ci");
  EXPECT_EQ(IdentityOf(file, kNewToken), "");
  EXPECT_EQ(IdentityOf(file, "other" + kToken.substr(2)), "");
  EXPECT_EQ(IdentityOf(file, "ci"), "");
  EXPECT_EQ(IdentityOf(file, ""), "");
  EXPECT_EQ(kLine.find(kToken.substr(3)), std::string::npos);
}

TEST(TokenFile, AnIdentityMayHaveTwoTokens) {
  const TokenFile file = TokenFile::Parse(kLine + "\n" + kNewLine + "\n");
  EXPECT_EQ(IdentityOf(file, kToken), "ci");
  EXPECT_EQ(IdentityOf(file, kNewToken), "ci");
  EXPECT_EQ(IdentityOf(file, "ci." + std::string(64, '1')), "");
  EXPECT_CONTAINS(Refusal<TokenFile>(kLine + "\n" + kNewLine + "\n" + kThirdLine),
                  "line 3: identity ci has more than 2 tokens");
  EXPECT_CONTAINS(Refusal<TokenFile>(kLine + "\n" + kLine), "line 2: this token of identity ci is");
}

TEST(TokenFile, ATokenIsRevokedWhenItsOwnLineIsRemoved) {
  const TokenFile both = TokenFile::Parse(kLine + "\n" + kNewLine);
  const TokenFile one = TokenFile::Parse(kNewLine);
  const auto before = both.Find(kToken);
  const auto after = both.Find(kNewToken);
  ASSERT_TRUE(before && after);
  EXPECT_TRUE(both.Has("ci", before->hash));
  EXPECT_FALSE(one.Has("ci", before->hash));
  EXPECT_TRUE(one.Has("ci", after->hash));
  EXPECT_FALSE(one.Has("cd", after->hash));
}

TEST(TokenFile, WindowsLineEndsAreAccepted) {
  const TokenFile file = TokenFile::Parse("# who\r\n\r\n" + kLine + "\r\n" + kNewLine + " # x\r\n");
  EXPECT_EQ(IdentityOf(file, kToken), "ci");
  EXPECT_EQ(IdentityOf(file, kNewToken), "ci");
}

TEST(TokenFile, AnInvalidLineIsReportedByNumber) {
  EXPECT_CONTAINS(Refusal<TokenFile>("\nci abc"),
                  "line 2: expected an identity, a salt and a hash");
  EXPECT_CONTAINS(Refusal<TokenFile>(kLine + " more"), "line 1: expected");
  EXPECT_CONTAINS(Refusal<TokenFile>("c*i 00 " + std::string(64, '0')), "invalid identity");
  EXPECT_CONTAINS(Refusal<TokenFile>("ci 00 1234"), "64 digits");
}

TEST(Matches, AStarMatchesAnyText) {
  EXPECT_TRUE(Matches("*", ""));
  EXPECT_TRUE(Matches("a*c", "abbc"));
  EXPECT_TRUE(Matches("a*b*c", "aXbbYc"));
  EXPECT_TRUE(Matches("*/x", "a/x/x"));
  EXPECT_FALSE(Matches("a*c", "abcd"));
  EXPECT_FALSE(Matches("a", "ab"));
  EXPECT_FALSE(Matches("ab", "a"));
  EXPECT_TRUE(Matches("a?c", "a?c"));
  EXPECT_FALSE(Matches("a?c", "abc"));
  // Would take forever if the matcher backtracked to every star.
  EXPECT_FALSE(Matches("*a*a*a*a*a*a*a*a*b", std::string(500, 'a')));
}

TEST(AccessList, AllowsOnlyWhatARuleAllows) {
  const AccessList list = AccessList::Parse(R"(
    [[rule]]
    identity = "billing-*"
    keys = ["billing/*", "reports"]
    verbs = ["acquire", "release"]
    [[rule]]
    identity = "ops"
    verbs = ["admin"]
  )");
  EXPECT_TRUE(list.Allows("billing-1", Action::kAcquire, "billing/x"));
  EXPECT_TRUE(list.Allows("billing-1", Action::kRelease, "reports"));
  EXPECT_FALSE(list.Allows("billing-1", Action::kExtend, "billing/x"));
  EXPECT_FALSE(list.Allows("billing-1", Action::kAcquire, "reports2"));
  EXPECT_FALSE(list.Allows("billing", Action::kAcquire, "billing/x"));
  EXPECT_FALSE(list.Allows("billing-1", Action::kAdmin, "billing/x"));
  EXPECT_FALSE(list.AllowsSomeKeys("billing-1", Action::kAdmin));
  EXPECT_TRUE(list.Allows("ops", Action::kAdmin, "reports"));
  EXPECT_TRUE(list.AllowsAllKeys("ops", Action::kAdmin));
  EXPECT_FALSE(list.Allows("ops", Action::kInspect, "reports"));
  EXPECT_FALSE(AccessList::Parse("").Allows("ops", Action::kAdmin, "reports"));
}

TEST(AccessList, KeysBindAdministratorsToo) {
  const AccessList list = AccessList::Parse(R"(
    [[rule]]
    identity = "billing"
    keys = ["billing/*", ""]
    verbs = ["admin"]
    [[rule]]
    identity = "billing"
    verbs = ["inspect"]
    [[rule]]
    identity = "ops"
    keys = ["none", "**"]
    verbs = ["admin"]
  )");
  EXPECT_TRUE(list.Allows("billing", Action::kAdmin, "billing/x"));
  EXPECT_FALSE(list.Allows("billing", Action::kAdmin, "orders/y"));
  EXPECT_TRUE(list.AllowsSomeKeys("billing", Action::kAdmin));
  EXPECT_FALSE(list.AllowsAllKeys("billing", Action::kAdmin));  // the second rule has another verb
  EXPECT_TRUE(list.AllowsAllKeys("ops", Action::kAdmin));
}

TEST(AccessList, WindowsLineEndsAreAccepted) {
  const AccessList list =
      AccessList::Parse("# ops\r\n[[rule]]\r\nidentity = 'ops'\r\nverbs = ['admin']\r\n");
  EXPECT_TRUE(list.AllowsAllKeys("ops", Action::kAdmin));
}

TEST(AccessList, AnInvalidFileIsRejectedWithLineAndReason) {
  EXPECT_CONTAINS(Refusal<AccessList>("[[rule]\n"), "line 1");
  EXPECT_CONTAINS(Refusal<AccessList>("\n[[rules]]\nidentity = 'x'"), "unknown name 'rules'");
  EXPECT_CONTAINS(Refusal<AccessList>("[[rule]]\nverbs = ['admin']"),
                  "line 1: the rule has no identity");
  EXPECT_CONTAINS(Refusal<AccessList>("[[rule]]\nidentity = 'x'"), "has no verbs");
  EXPECT_CONTAINS(Refusal<AccessList>("[[rule]]\nidentity = 'x'\nverbs = ['lock']"),
                  "line 3: unknown verb 'lock'");
  EXPECT_CONTAINS(Refusal<AccessList>("[[rule]]\nidentity = 'x'\nverbs = 'admin'"),
                  "must be a non-empty list");
  EXPECT_CONTAINS(Refusal<AccessList>("[[rule]]\nidentity = 'x'\nverbs = ['admin']\nkeys = [1]"),
                  "line 4: keys must be a non-empty list of strings");
  EXPECT_CONTAINS(Refusal<AccessList>("[[rule]]\nwho = 'x'"), "line 2: unknown field 'who'");
}

TEST(Access, RequiresNoCredentialsByDefault) {
  const Access access({});
  EXPECT_FALSE(access.asks());
  EXPECT_TRUE(access.Allows("", Action::kAdmin, "k"));
  EXPECT_TRUE(access.AllowsAllKeys("", Action::kAdmin));
}

// The identity of the caller, or "".
std::string Who(const Access& access, const Credentials& credentials) {
  const auto who = access.Identify(credentials);
  return who ? who->identity : "";
}

TEST(Access, AWrongTokenIsRejectedDespiteAValidCertificate) {
  const testing::TemporaryDirectory directory;
  const std::string path = directory.path() + "/tokens";
  std::ofstream(path) << kLine;
  const Access access({.token_file = path, .access_list = {}, .client_certificates = true});
  EXPECT_EQ(Who(access, {"cert", "Bearer " + kToken}), "ci");
  EXPECT_EQ(Who(access, {"cert", ""}), "cert");
  EXPECT_EQ(Who(access, {"cert", "Bearer ci.wrong"}), "");
  EXPECT_EQ(Who(access, {std::nullopt, "Basic abc"}), "");
}

TEST(Access, AReloadRevokesOnlyWhatItsTokenProved) {
  const testing::TemporaryDirectory directory;
  const std::string path = directory.path() + "/tokens";
  std::ofstream(path) << kLine << "\n" << kNewLine;
  Access access({.token_file = path, .access_list = {}, .client_certificates = true});
  const auto before = access.Identify({std::nullopt, "Bearer " + kToken});
  const auto after = access.Identify({std::nullopt, "Bearer " + kNewToken});
  const auto certified = access.Identify({"ci", ""});
  ASSERT_TRUE(before && after && certified);
  EXPECT_TRUE(access.IsValid(*before));
  std::ofstream(path) << kNewLine;
  access.Reload();
  EXPECT_FALSE(access.IsValid(*before));
  EXPECT_TRUE(access.IsValid(*after));
  EXPECT_TRUE(access.IsValid(*certified));
}

TEST(Access, AFailedReloadChangesNothing) {
  const testing::TemporaryDirectory directory;
  const std::string tokens = directory.path() + "/tokens", list = directory.path() + "/list";
  std::ofstream(tokens) << kLine;
  std::ofstream(list) << "[[rule]]\nidentity = 'ci'\nverbs = ['inspect']\n";
  Access access({.token_file = tokens, .access_list = list});
  std::ofstream(tokens) << "";  // no tokens
  std::ofstream(list) << "nonsense";
  EXPECT_THROW(access.Reload(), std::runtime_error);
  EXPECT_EQ(Who(access, {std::nullopt, "Bearer " + kToken}), "ci");
  EXPECT_TRUE(access.Allows("ci", Action::kInspect, "k"));
  std::ofstream(list) << "";
  access.Reload();
  EXPECT_EQ(Who(access, {std::nullopt, "Bearer " + kToken}), "");
  EXPECT_FALSE(access.Allows("ci", Action::kInspect, "k"));
}

TEST(Access, AMissingFileIsReportedByName) {
  try {
    const Access access({.token_file = "/nowhere/tokens", .access_list = {}});
    FAIL();
  } catch (const std::runtime_error& error) {
    EXPECT_CONTAINS(std::string(error.what()), "--token-file /nowhere/tokens");
  }
}

}  // namespace
}  // namespace redlock::access
