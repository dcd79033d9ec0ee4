// SPDX-License-Identifier: MIT OR Apache-2.0
#include <errno.h>
#include <pthread.h>
#include <sys/prctl.h>

/*
 * Stands in for libunwind in the static build. That build aborts on panic and carries no unwind tables, so there is
 * nothing to walk: a backtrace is empty. Rust's std refers to these two functions all the same.
 */
int _Unwind_Backtrace(void *callback, void *data)
{
	(void)callback;
	(void)data;
	return 5; /* _URC_END_OF_STACK */
}

unsigned long _Unwind_GetIP(void *context)
{
	(void)context;
	return 0;
}

/*
 * Rust names only the thread that it runs on. musl's own function can name others by their file in /proc, for which it
 * brings its printf with it: 15 KB.
 */
int pthread_setname_np(pthread_t thread, const char *name)
{
	(void)thread;
	return prctl(PR_SET_NAME, name, 0, 0, 0) ? errno : 0;
}
