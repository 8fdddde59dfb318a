/* io.h: the handle's thread: owns every socket; one page per turn.
 *
 * Position: between the mailbox, where applications post requests, and the servers. */
#pragma once

void *io_thread(void *hf); /* of pthread_create; ends when hf->stop is set and the mailbox woken */
