// SPDX-License-Identifier: MIT OR Apache-2.0
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
