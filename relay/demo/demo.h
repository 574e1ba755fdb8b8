/*
 * relay/demo/demo.h - `callveil demo`: a relayed exchange on this machine, and the proof
 *
 * Starts a relay on loopback with a generated configuration, lets two peers
 * exchange RTP-like packets through it, and prints which address each of them
 * saw. Exit status 0 only if every packet arrived and each peer saw the other's
 * relayed address and nothing else. Leaves nothing behind.
 */
#pragma once

/* argv[0] is "demo". Return: the exit status. */
int demo_command(int argc, char **argv);
