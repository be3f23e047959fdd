/* The ticker: a thread that never takes the lock, reads the main thread's clock and has it looked at. */
#ifndef RBKIT_TICKER_H
#define RBKIT_TICKER_H

#include <sys/types.h>

/* Before the thread is started, and after it has ended or where there is none. */
void ticker_begin(pid_t main_thread);
void ticker_end(void);

void *ticker_main(void *unused);

#endif
