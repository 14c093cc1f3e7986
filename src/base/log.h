/* Lines for people and for test logs. Where they go is set once by the program; the default is stderr.
 *
 * Rooms that must not touch the world log through here too: the sink is given from outside, and carries the time.
 */
#ifndef FERRY_BASE_LOG_H
#define FERRY_BASE_LOG_H

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

typedef void log_sink(void *ctx, enum log_level level, const char *line);

void log_set(log_sink *sink, void *ctx, enum log_level upto);
enum log_level log_upto(void);
void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) do { if (log_upto() >= LOG_DEBUG) log_line(LOG_DEBUG, __VA_ARGS__); } while (0)

#endif
