/*
 * relay/invite/invite.h - `callveil invite` and `callveil join`
 *
 * One makes a user on the relay and prints a link; the other, on somebody's laptop,
 * turns the link into local.conf.
 */
#pragma once

/* argv[0] is the command's name. Return: the exit status. */
int invite_command(int argc, char **argv);
int join_command(int argc, char **argv);
