/* fresh.h: a process whose directory belongs to no group yet: it says who it is and waits to be told (bootstrap).
 *
 * Position: before the replica's loop; start flags never make a member, only a bootstrap request that names the cluster
 * and every member's incarnation does. */
#pragma once

#include <stdbool.h>

#include "common/sys/net.h"
#include "shard/replica/directory.h"

/* Waits. true: the directory was bootstrapped; false: a signal asks to stop. */
bool fresh_wait(struct directory *directory, struct net_socket *clients, int signal_fd);
