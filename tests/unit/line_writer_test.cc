#include "server/observe/line_writer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

namespace redlock::observe {
namespace {

using Weight = LineWriter::Weight;
using namespace std::chrono_literals;

class LineWriterTest : public ::testing::Test {
 protected:
  LineWriterTest() {
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    EXPECT_EQ(pipe2(ends_.data(), O_CLOEXEC), 0);
  }
  ~LineWriterTest() override {
    close(read_end());
    close(write_end());
  }

  [[nodiscard]] int read_end() const { return ends_[0]; }
  [[nodiscard]] int write_end() const { return ends_[1]; }
  void MakeSocketPair() {
    close(read_end());
    close(write_end());
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends_.data()), 0);
  }

  // Reads for as long as something arrives.
  [[nodiscard]] std::string ReadAll() const {
    std::string text;
    std::array<char, 65536> buffer{};
    pollfd wanted{.fd = read_end(), .events = POLLIN, .revents = 0};
    while (poll(&wanted, 1, 300) > 0) {
      const ssize_t count = read(read_end(), buffer.data(), buffer.size());
      if (count <= 0) break;
      text.append(buffer.data(), static_cast<std::size_t>(count));
    }
    return text;
  }

  static LineWriter::Callbacks Reporting() {
    return {.report = [](std::uint64_t n) { return "dropped " + std::to_string(n) + "\n"; },
            .tick = {}};
  }
  static std::string Line(std::size_t number) {
    return "line " + std::to_string(number) + std::string(90, '.') + "\n";
  }

 private:
  std::array<int, 2> ends_{};
};

// Expects whole lines in order, whose number and what is reported as dropped add up to `put`.
void ExpectAccounted(const std::string& text, std::size_t put) {
  std::size_t lines = 0;
  std::size_t dropped = 0;
  long last = -1;
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t end = text.find('\n', start);
    ASSERT_NE(end, std::string::npos) << "a torn line at the end";
    const std::string line = text.substr(start, end - start);
    start = end + 1;
    if (unsigned long count = 0; std::sscanf(line.c_str(), "dropped %lu", &count) == 1) {
      dropped += count;
      continue;
    }
    long number = 0;
    ASSERT_EQ(std::sscanf(line.c_str(), "line %ld", &number), 1) << line;
    ASSERT_EQ(line.find("line", 1), std::string::npos) << line;
    ASSERT_TRUE(line.ends_with(std::string(90, '.'))) << line;
    EXPECT_GT(number, last);
    last = number;
    ++lines;
  }
  EXPECT_EQ(lines + dropped, put);
}

TEST_F(LineWriterTest, WritesLinesInOrder) {
  {
    LineWriter writer(write_end(), Reporting());
    for (std::size_t i = 0; i < 100; ++i) writer.Put(Line(i), Weight::kImportant);
  }
  const std::string text = ReadAll();
  ExpectAccounted(text, 100);
  EXPECT_EQ(text.find("dropped"), std::string::npos);
}

TEST_F(LineWriterTest, DropsAndReportsWhatAReaderDoesNotTake) {
  constexpr std::size_t kLines = 30'000;  // more than the queue and the pipe take
  LineWriter writer(write_end(), Reporting());
  for (std::size_t i = 0; i < kLines; ++i) writer.Put(Line(i), Weight::kImportant);
  EXPECT_GT(writer.dropped(), 0U);
  EXPECT_LT(writer.dropped(), kLines);
  ExpectAccounted(ReadAll(), kLines);
}

TEST_F(LineWriterTest, DetailsDoNotCrowdOutImportantLines) {
  LineWriter writer(write_end(), Reporting());
  for (std::size_t i = 0; i < 30'000; ++i) writer.Put(Line(i), Weight::kDetail);
  const std::uint64_t dropped = writer.dropped();
  EXPECT_GT(dropped, 0U);
  writer.Put(Line(30'000), Weight::kImportant);
  EXPECT_EQ(writer.dropped(), dropped);
  ExpectAccounted(ReadAll(), 30'001);
}

TEST_F(LineWriterTest, NeverTearsALineIfTheDescriptorDoesNotBlock) {
  MakeSocketPair();
  LineWriter writer(write_end(), Reporting());
  for (std::size_t i = 0; i < 30'000; ++i) writer.Put(Line(i), Weight::kImportant);
  ExpectAccounted(ReadAll(), 30'000);
}

TEST_F(LineWriterTest, CountsLinesThatNoReaderCanGet) {
  LineWriter writer(write_end(), Reporting());
  EXPECT_EQ(dup2(write_end(), read_end()), read_end());  // closes the only read end
  writer.Put(Line(0), Weight::kImportant);
  writer.Flush();
  EXPECT_EQ(writer.dropped(), 1U);
}

TEST_F(LineWriterTest, CompletesATornLineWhenThereIsSpaceAgain) {
  std::FILE* const file = std::tmpfile();
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  std::string text(100'000, '\0');
  {
    LineWriter writer(fileno(file), Reporting());
    const rlimit small{.rlim_cur = 150, .rlim_max = before.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
    for (std::size_t i = 0; i < 4; ++i) {
      writer.Put(Line(i), Weight::kImportant);
      writer.Flush();
    }
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
    EXPECT_EQ(writer.dropped(), 2U);
    writer.Put(Line(4), Weight::kImportant);
  }
  text.resize(static_cast<std::size_t>(pread(fileno(file), text.data(), text.size(), 0)));
  std::fclose(file);
  ExpectAccounted(text, 5);
  EXPECT_NE(text.find("dropped 2\n"), std::string::npos);
}

TEST_F(LineWriterTest, DoesNotWaitForAStuckReaderForever) {
  const auto start = std::chrono::steady_clock::now();
  {
    LineWriter writer(write_end(), Reporting());
    for (std::size_t i = 0; i < 5'000; ++i) writer.Put(Line(i), Weight::kImportant);
  }
  EXPECT_GE(std::chrono::steady_clock::now() - start, LineQueue::kPatience);
  (void)ReadAll();  // ends the thread that was left behind
}

}  // namespace
}  // namespace redlock::observe
