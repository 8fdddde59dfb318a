/* must.h: assertions that stay on in every build, and the end of a process whose durable state is in doubt. */
#pragma once

#define HF_NORETURN __attribute__((noreturn))
#define HF_CHECKED __attribute__((warn_unused_result))
#define HF_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* We have a bug: say where and abort. Name the invariant in a comment beside it. */
#define must(expr) ((expr) ? (void)0 : must_failed(#expr, __FILE__, __LINE__))

HF_NORETURN void must_failed(const char *expr, const char *file, int line);
