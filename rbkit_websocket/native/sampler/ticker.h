/* The ticker: a thread that never takes the lock, reads the main thread's clock and has it looked at. */
#ifndef RBKIT_TICKER_H
#define RBKIT_TICKER_H

void *ticker_main(void *unused);

#endif
