/* SPDX-License-Identifier: Apache-2.0 */

/* Without root: a user namespace in which we are it. */

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "scenarios/lab/lab_priv.h"

static bool is_admin(void)
{
	struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2] = { 0 };
	uint32_t need = 1u << CAP_SYS_ADMIN | 1u << CAP_NET_ADMIN;

	return syscall(SYS_capget, &head, data) == 0 &&
	       (data[0].effective & need) == need;
}

static struct error *no_user_ns(int errnum)
{
	static const char *const keys[] = {
		"kernel/unprivileged_userns_clone",
		"kernel/apparmor_restrict_unprivileged_userns",
		"user/max_user_namespaces",
	};
	static const int bad[] = { 0, 1, 0 };

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		char path[100];
		int value = -1;

		snprintf(path, sizeof(path), "/proc/sys/%s", keys[i]);
		AUTO_FCLOSE FILE *f = fopen(path, "re");
		if (f && fscanf(f, "%d", &value) == 1 && value == bad[i])
			return error_new(ERROR_DENIED,
					 "a lab needs root, or user namespaces "
					 "for everyone, which %s = %d turns "
					 "off; run as root",
					 path, value);
	}
	return error_new(ERROR_DENIED,
			 "a lab needs root, or user namespaces for everyone, "
			 "which this machine refuses (%s; see "
			 "user.max_user_namespaces); run as root",
			 strerrordesc_np(errnum));
}

static bool put(const char *path, const char *text)
{
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd >= 0 &&
	       write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

struct error *lab_become_admin(void)
{
	char uid[32], gid[32];

	if (is_admin())
		return NULL;
	snprintf(uid, sizeof(uid), "0 %u 1", (unsigned)geteuid());
	snprintf(gid, sizeof(gid), "0 %u 1", (unsigned)getegid());
	if (unshare(CLONE_NEWUSER))
		return no_user_ns(errno);
	// user_namespaces(7): groups can be mapped once setgroups is off
	if (!put("/proc/self/setgroups", "deny") ||
	    !put("/proc/self/gid_map", gid) || !put("/proc/self/uid_map", uid))
		return no_user_ns(errno);
	return is_admin() ? NULL : no_user_ns(EPERM);
}
