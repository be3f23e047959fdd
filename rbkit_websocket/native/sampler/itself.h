/* The main thread looks at itself; with the lock. */
#ifndef RBKIT_ITSELF_H
#define RBKIT_ITSELF_H

void look_at_self(void);

/* The same, as a pending call. */
int on_pending(void *unused);

#endif
