// SPDX-License-Identifier: Apache-2.0

// Inlined and templated functions in a namespace, over a blocked read(2).
// They print where they were called from, and with which line.

#include <cstdio>
#include <string>
#include <unistd.h>

namespace shop
{

static volatile int sink;

struct Reader {
	int fd;
	__attribute__((noinline)) int wait();
};

int Reader::wait()
{
	char c;
	std::printf("%d\n", __LINE__ + 2);
	std::fflush(stdout);
	ssize_t n = read(fd, &c, 1);
	return sink = static_cast<int>(n);
}

template <typename T>
static inline __attribute__((always_inline)) int inlined(T &reader)
{
	return reader.wait() + 1;
}

template <typename T> struct Loop {
	T reader;
	__attribute__((noinline)) int run(const std::string &name)
	{
		int n = inlined(reader);
		sink = n + static_cast<int>(name.size());
		return sink;
	}
};

} // namespace shop

int main()
{
	shop::Loop<shop::Reader> loop{ { 0 } };
	return loop.run("orders") != 0;
}
