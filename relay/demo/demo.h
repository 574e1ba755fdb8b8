/*
 * relay/demo/demo.h - `callveil demo`: relay and local proxy on this machine, and the proof
 *
 * Starts a relay and a local proxy on loopback with generated configurations, and has
 * everything talk that will: people who call each other, one behind the proxy's TURN
 * port and one anywhere; an app behind the SOCKS5 port with an ordinary peer, by
 * datagrams and by a stream to a name. Prints which address each far side saw. Exit
 * status 0 only if everything arrived and nobody saw anything but the relay's address.
 * Leaves nothing behind.
 */
#pragma once

/* argv[0] is "demo". Return: the exit status. */
int demo_command(int argc, char **argv);
