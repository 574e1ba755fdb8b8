/*
 * relay/top/top.h - what a running role does, in a terminal
 */
#pragma once

/* `callveil stats`, `callveil top`: argv[0] is the command. Return: the exit status. */
int stats_command(int argc, char **argv);
int top_command(int argc, char **argv);
