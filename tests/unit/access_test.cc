// Tokens and the access list: which clients are admitted, what they may do, and how an invalid file
// is rejected.
#include "server/access/access.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/process.h"

namespace redlock::access {
namespace {

// As printed by `redlockctl token ci`.
const std::string kToken = "ci.de7ab67e2ee557bf8543e6c751f3067766344714e0125e68666bbc0d2f7e2b13";
const std::string kLine =
    "ci 658cd882b73f693cfcbf8228da791fe9 "
    "734c82ed9675707e2b2bfe395eed21c330cdc4fc89702e044f9bbbe5eda89d85";

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

TEST(TokenFile, IdentifiesATokenByItsHash) {
  const TokenFile file = TokenFile::Parse("# who\n\n" + kLine + "  # the build\n");
  EXPECT_EQ(file.size(), 1U);
  EXPECT_EQ(file.IdentityOf(kToken), "ci");
  EXPECT_EQ(file.IdentityOf("ci." + std::string(64, '0')), std::nullopt);
  EXPECT_EQ(file.IdentityOf("other" + kToken.substr(2)), std::nullopt);
  EXPECT_EQ(file.IdentityOf("ci"), std::nullopt);
  EXPECT_EQ(file.IdentityOf(""), std::nullopt);
  EXPECT_EQ(kLine.find(kToken.substr(3)), std::string::npos);
}

TEST(TokenFile, AnInvalidLineIsReportedByNumber) {
  EXPECT_CONTAINS(Refusal<TokenFile>("\nci abc"),
                  "line 2: expected an identity, a salt and a hash");
  EXPECT_CONTAINS(Refusal<TokenFile>(kLine + " more"), "line 1: expected");
  EXPECT_CONTAINS(Refusal<TokenFile>("c*i 00 " + std::string(64, '0')), "invalid identity");
  EXPECT_CONTAINS(Refusal<TokenFile>("ci 00 1234"), "64 digits");
  EXPECT_CONTAINS(Refusal<TokenFile>(kLine + "\n" + kLine), "line 2: identity ci is given twice");
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
  EXPECT_FALSE(list.Allows("billing-1", Action::kAdmin, ""));
  EXPECT_TRUE(list.Allows("ops", Action::kAdmin, ""));
  EXPECT_FALSE(list.Allows("ops", Action::kInspect, "reports"));
  EXPECT_FALSE(AccessList::Parse("").Allows("ops", Action::kAdmin, ""));
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
  EXPECT_TRUE(access.Allows("", Action::kAdmin, ""));
}

TEST(Access, AWrongTokenIsRejectedDespiteAValidCertificate) {
  const testing::TemporaryDirectory directory;
  const std::string path = directory.path() + "/tokens";
  std::ofstream(path) << kLine;
  const Access access({.token_file = path, .access_list = {}, .client_certificates = true});
  EXPECT_EQ(access.Identify({"cert", "Bearer " + kToken}), "ci");
  EXPECT_EQ(access.Identify({"cert", ""}), "cert");
  EXPECT_EQ(access.Identify({"cert", "Bearer ci.wrong"}), std::nullopt);
  EXPECT_EQ(access.Identify({std::nullopt, "Basic abc"}), std::nullopt);
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
  EXPECT_EQ(access.Identify({std::nullopt, "Bearer " + kToken}), "ci");
  EXPECT_TRUE(access.Allows("ci", Action::kInspect, "k"));
  std::ofstream(list) << "";
  access.Reload();
  EXPECT_EQ(access.Identify({std::nullopt, "Bearer " + kToken}), std::nullopt);
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
