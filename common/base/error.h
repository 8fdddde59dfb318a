/* error.h: the one table of outcomes. 0 is success; every failure is a negative code with a text and a class.
 *
 * Position: everything returns these; they travel in replies (proto/client.proto) and end as exit codes of the CLI.
 * client/include/holdfast/holdfast.h repeats the numbers for the public; client/abi.c asserts that they agree. */
#pragma once

/* What a client should do next. The class travels with the code; clients switch on it, not on the code. */
enum hf_class {
    HF_CLASS_NONE = 0,            /* success */
    HF_CLASS_RETRY_SAME = 1,      /* surely not done; the same server may do it a moment later */
    HF_CLASS_RETRY_ELSEWHERE = 2, /* surely not done by this server; another replica can */
    HF_CLASS_REFRESH_ROUTE = 3,   /* surely not done; the key lives elsewhere, newer routes come with the reply */
    HF_CLASS_OUTCOME_UNKNOWN = 4, /* it may have happened or may still happen */
    HF_CLASS_GIVE_UP = 5          /* surely not done, and repeating it will not help */
};

/* name, number, class, text */
/* clang-format off */
#define HF_ERRORS(X)                                                                                                     \
    X(HF_E_NOT_FOUND, -1, HF_CLASS_GIVE_UP, "key not found")                                                             \
    X(HF_E_COMPARE_FAILED, -2, HF_CLASS_GIVE_UP, "compare failed: the key does not hold the expected value")             \
    X(HF_E_INVALID, -3, HF_CLASS_GIVE_UP, "invalid argument")                                                            \
    X(HF_E_LIMIT, -4, HF_CLASS_GIVE_UP, "a limit is exceeded")                                                           \
    X(HF_E_NOT_LEADER, -5, HF_CLASS_RETRY_ELSEWHERE, "this replica is not the leader")                                   \
    X(HF_E_BUSY, -6, HF_CLASS_RETRY_SAME, "busy: a queue is full")                                                       \
    X(HF_E_WRONG_SHARD, -7, HF_CLASS_REFRESH_ROUTE, "the key belongs to another shard")                                  \
    X(HF_E_NO_ROUTE, -8, HF_CLASS_RETRY_SAME, "no route: the key space is not bootstrapped or not known yet")            \
    X(HF_E_UNAVAILABLE, -9, HF_CLASS_RETRY_ELSEWHERE, "unavailable: no leader or no server could be reached")            \
    X(HF_E_TIMEOUT, -10, HF_CLASS_GIVE_UP, "deadline passed before anything was sent")                                   \
    X(HF_E_OUTCOME_UNKNOWN, -11, HF_CLASS_OUTCOME_UNKNOWN, "outcome unknown: the request may have been executed")        \
    X(HF_E_SESSION_UNKNOWN, -12, HF_CLASS_GIVE_UP, "session unknown or expired: the request was not executed")           \
    X(HF_E_SESSION_WINDOW, -13, HF_CLASS_GIVE_UP, "sequence number outside the session's window")                        \
    X(HF_E_FENCED, -14, HF_CLASS_GIVE_UP, "fenced: the request was never executed and never will be")                    \
    X(HF_E_PROTOCOL, -15, HF_CLASS_GIVE_UP, "malformed message or unknown protocol version")                             \
    X(HF_E_WRONG_CLUSTER, -16, HF_CLASS_GIVE_UP, "another cluster")                                                      \
    X(HF_E_REFUSED, -17, HF_CLASS_GIVE_UP, "refused")                                                                    \
    X(HF_E_IO, -18, HF_CLASS_RETRY_ELSEWHERE, "input/output error")                                                      \
    X(HF_E_CORRUPT, -19, HF_CLASS_GIVE_UP, "damaged data")                                                               \
    X(HF_E_EXISTS, -20, HF_CLASS_GIVE_UP, "already exists")                                                              \
    X(HF_E_ABSENT, -21, HF_CLASS_GIVE_UP, "does not exist")                                                              \
    X(HF_E_LOCKED, -22, HF_CLASS_GIVE_UP, "locked by another process")                                                   \
    X(HF_E_FORMAT, -23, HF_CLASS_GIVE_UP, "unknown format version")                                                      \
    X(HF_E_NO_MEMORY, -24, HF_CLASS_RETRY_SAME, "out of memory")                                                         \
    X(HF_E_CLOSED, -25, HF_CLASS_GIVE_UP, "closed")                                                                      \
    X(HF_E_NOT_READY, -26, HF_CLASS_RETRY_SAME, "starting: not ready to serve yet")                                      \
    X(HF_E_AGAIN, -27, HF_CLASS_RETRY_SAME, "nothing to do now; try again")                                              \
    X(HF_E_FUTURE_TIMESTAMP, -28, HF_CLASS_GIVE_UP, "the timestamp lies in the future: nobody issued it")                \
    X(HF_E_NO_SPACE, -29, HF_CLASS_RETRY_SAME, "no space left on device")                                                \
    X(HF_E_SNAPSHOT_TOO_SMALL, -30, HF_CLASS_GIVE_UP, "snapshot stream: it ends before its footer")                      \
    X(HF_E_SNAPSHOT_FOOTER, -31, HF_CLASS_GIVE_UP, "snapshot stream: the footer is damaged or belongs to another token") \
    X(HF_E_SNAPSHOT_BODY, -32, HF_CLASS_GIVE_UP, "snapshot stream: the content does not match its checksum")             \
    X(HF_E_SNAPSHOT_MAGIC, -33, HF_CLASS_GIVE_UP, "snapshot stream: unknown format")                                     \
    X(HF_E_SNAPSHOT_LENGTH, -34, HF_CLASS_GIVE_UP, "snapshot stream: a length that cannot be")                           \
    X(HF_E_SNAPSHOT_TOKEN, -35, HF_CLASS_GIVE_UP, "snapshot stream: the token is invalid or not the expected one")       \
    X(HF_E_SNAPSHOT_ABSENT, -36, HF_CLASS_RETRY_ELSEWHERE, "snapshot stream: there is none")                             \
    X(HF_E_SNAPSHOT_TOO_LARGE, -37, HF_CLASS_GIVE_UP, "snapshot stream: larger than allowed")               \
    X(HF_E_TOO_OLD, -38, HF_CLASS_GIVE_UP, "the timestamp is older than what is kept: read at a newer one")              \
    X(HF_E_RESTART_ABOVE, -39, HF_CLASS_GIVE_UP, "nothing can be read at this timestamp any more: take a newer one")       \
    X(HF_E_KEY_LOCKED, -40, HF_CLASS_RETRY_SAME, "locked by a transaction that is not decided yet")                      \
    X(HF_E_CONFLICT, -41, HF_CLASS_GIVE_UP, "conflict: another transaction or write was first; begin again")
/* clang-format on */

enum hf_error {
    HF_OK = 0,
#define HF_ERROR_ENUM(name, number, cls, text) name = (number),
    HF_ERRORS(HF_ERROR_ENUM)
#undef HF_ERROR_ENUM
};

/* The text of `code`: static, never NULL. An unknown number yields "unknown error". */
const char *error_text(int code);

/* The code's own name without the prefix, as JSON shows it ("NOT_FOUND"): static, never NULL. */
const char *error_name(int code);

/* The class of `code`. An unknown number is OUTCOME_UNKNOWN: the careful reading of what a newer server said. */
enum hf_class error_class(int code);

/* "RETRY_SAME" …: static, never NULL. */
const char *error_class_name(enum hf_class cls);
