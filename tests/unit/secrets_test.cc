// Passwords and certificates that are renewed while the daemon runs.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>

#include "server/secrets/certificate_files.h"
#include "server/secrets/password_file.h"
#include "tests/support/process.h"

namespace redlock::secrets {
namespace {

namespace fs = std::filesystem;

// Returns the message of the std::runtime_error that `work` throws; empty if it throws none.
template <typename Work>
std::string ErrorOf(Work work) {
  try {
    work();
    return "";
  } catch (const std::runtime_error& error) {
    return error.what();
  }
}

bool Has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class SecretsTest : public ::testing::Test {
 protected:
  [[nodiscard]] std::string Path(const std::string& name) const {
    return directory.path() + "/" + name;
  }
  void Write(const std::string& name, const std::string& content) const {
    std::ofstream(Path(name), std::ios::trunc) << content;
  }
  testing::TemporaryDirectory directory;
};

TEST_F(SecretsTest, APasswordIsTheFirstLineWithoutItsEnd) {
  Write("p", "s3cret\r\nnot this\r\n");
  EXPECT_EQ(PasswordFile(Path("p")).Password(), "s3cret");
  Write("p", " with spaces ");
  EXPECT_EQ(PasswordFile(Path("p")).Password(), " with spaces ");
}

TEST_F(SecretsTest, AFileWithoutAPasswordIsRefusedAtStartup) {
  EXPECT_TRUE(Has(ErrorOf([&] { const PasswordFile file(Path("p")); }), Path("p")));
  for (const char* const content : {"", "\n", "\r\nsecond line"}) {
    Write("p", content);
    EXPECT_TRUE(Has(ErrorOf([&] { const PasswordFile file(Path("p")); }), "empty")) << content;
  }
  Write("p", std::string(5000, 'x'));
  EXPECT_TRUE(Has(ErrorOf([&] { const PasswordFile file(Path("p")); }), "4096 bytes"));
}

TEST_F(SecretsTest, TheLastPasswordIsKeptWhileTheFileHasNone) {
  Write("p", "first\n");
  PasswordFile file(Path("p"));
  Write("p", "");
  EXPECT_EQ(file.Password(), "first");
  EXPECT_TRUE(Has(ErrorOf([&] { file.Reload(); }), "empty"));
  fs::remove(Path("p"));
  EXPECT_EQ(file.Password(), "first");
  EXPECT_TRUE(Has(ErrorOf([&] { file.Reload(); }), "No such file"));
  // A pipe that has no writer would block an ordinary read.
  ASSERT_EQ(mkfifo(Path("p").c_str(), 0600), 0);
  EXPECT_EQ(file.Password(), "first");
  fs::remove(Path("p"));
  Write("p", "second\n");
  EXPECT_EQ(file.Reload(), Renewal::kRenewed);
  EXPECT_EQ(file.Reload(), Renewal::kNone);
  EXPECT_EQ(file.Password(), "second");
}

// Makes pairs one.crt and one.key, two.crt and two.key, an expired pair old.crt and old.key, and a
// key with a passphrase, sealed.key.
class CertificateFilesTest : public SecretsTest {
 protected:
  void SetUp() override {
    const std::string make =
        "cd " + directory.path() +
        " && for n in one two old; do openssl ecparam -genkey -name prime256v1 -noout -out $n.key"
        " && days=2 && if [ $n = old ]; then days=0; fi"
        " && openssl req -new -key $n.key -subj /CN=$n -out $n.csr"
        " && openssl x509 -req -in $n.csr -signkey $n.key -days $days -out $n.crt || exit 1; "
        "done"
        " && openssl ec -in one.key -aes128 -passout pass:x -out sealed.key";
    ASSERT_EQ(std::system(("(" + make + ") >/dev/null 2>&1").c_str()), 0);
    Copy("one", "one");
  }
  // Puts a certificate and a key at the paths in use.
  void Copy(const std::string& certificate, const std::string& key) const {
    const auto overwrite = fs::copy_options::overwrite_existing;
    fs::copy_file(Path(certificate + ".crt"), Path("used.crt"), overwrite);
    fs::copy_file(Path(key + ".key"), Path("used.key"), overwrite);
  }
  [[nodiscard]] CertificatePaths Paths(const std::string& ca = "") const {
    return {.certificate = {"--cert", Path("used.crt")},
            .key = {"--key", Path("used.key")},
            .ca = {"--ca", ca.empty() ? "" : Path(ca)}};
  }

  std::vector<Pem> installed;
  const CertificateFiles::Install install = [this](const Pem& pem) { installed.push_back(pem); };
  const CertificateFiles::Uses uses{.certificate = "mine", .ca = "theirs"};
};

TEST_F(CertificateFilesTest, AChangedPairIsInstalledOnce) {
  CertificateFiles files(Paths("two.crt"), uses, install);
  EXPECT_EQ(files.Reload(), Renewal::kNone);
  Copy("two", "two");
  EXPECT_EQ(files.Reload(), Renewal::kRenewed);
  EXPECT_EQ(files.Reload(), Renewal::kNone);
  ASSERT_EQ(installed.size(), 2U);
  const auto certificates = files.certificates();
  ASSERT_EQ(certificates.size(), 2U);
  EXPECT_EQ(certificates[0].use, "mine");
  EXPECT_EQ(certificates[1].use, "theirs");
  EXPECT_EQ(certificates[1].validity.until - certificates[1].validity.from, std::chrono::hours(48));
}

TEST_F(CertificateFilesTest, AnUnusablePairIsRefusedInWords) {
  CertificateFiles files(Paths(), uses, install);
  const auto reload = [&] { return ErrorOf([&] { (void)files.Reload(); }); };
  Copy("two", "one");  // half-written
  EXPECT_TRUE(Has(reload(), "used.key: does not match --cert")) << reload();
  Copy("old", "old");
  EXPECT_TRUE(Has(reload(), "used.crt: the certificate expired on 20")) << reload();
  Copy("one", "sealed");
  EXPECT_TRUE(Has(reload(), "used.key: the private key is encrypted")) << reload();
  Write("used.key", "");
  EXPECT_TRUE(Has(reload(), "used.key: contains no private key")) << reload();
  Write("used.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n");
  EXPECT_TRUE(Has(reload(), "used.crt: a certificate in it is damaged")) << reload();
  fs::remove(Path("used.crt"));
  EXPECT_TRUE(Has(reload(), "used.crt: cannot read the file: No such file")) << reload();
  EXPECT_EQ(installed.size(), 1U) << "the first pair is still in use";
}

TEST_F(CertificateFilesTest, ALookWaitsUntilAChangeIsComplete) {
  CertificateFiles files(Paths(), uses, install);
  EXPECT_EQ(files.Look(), Renewal::kNone);
  Copy("two", "one");
  EXPECT_EQ(files.Look(), Renewal::kPending);
  Copy("two", "two");
  EXPECT_EQ(files.Look(), Renewal::kPending);
  EXPECT_EQ(files.Look(), Renewal::kRenewed);
  EXPECT_EQ(files.Look(), Renewal::kNone);
  Copy("one", "two");
  EXPECT_EQ(files.Look(), Renewal::kPending);
  EXPECT_TRUE(Has(ErrorOf([&] { (void)files.Look(); }), "does not match"));
  EXPECT_EQ(installed.size(), 2U);
}

// A daemon that restarts with an expired certificate takes the next one when it arrives.
TEST_F(CertificateFilesTest, AnExpiredPairIsAcceptedAtStartup) {
  Copy("old", "old");
  CertificateFiles files(Paths(), uses, install);
  Copy("one", "one");
  EXPECT_EQ(files.Reload(), Renewal::kRenewed);
}

TEST_F(CertificateFilesTest, TheExpiryOfABundleIsThatOfTheNextCaToExpire) {
  ASSERT_EQ(std::system(("cd " + directory.path() + " && cat old.crt two.crt > cas.crt").c_str()),
            0);
  const CertificateFiles files(Paths("cas.crt"), uses, install);
  const CertificateInUse ca = files.certificates().at(1);
  EXPECT_EQ(ca.validity.until - ca.validity.from, std::chrono::hours(48));
}

}  // namespace
}  // namespace redlock::secrets
