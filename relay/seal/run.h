/*
 * relay/seal/run.h - `callveil run`: an app with no other way out
 *
 *   run ---- fork --> our own proxy, unless one runs            (outside.h)
 *    |
 *    +------ fork --> keeper: the namespace and its sockets     (keeper.h)
 *    |                   | sockets
 *    +-- attach: sockets to the proxy, which makes a gate       (relay/keeper.h, attach.h)
 *    |
 *    +------ fork --> the app, in the namespace                 (app.h)
 *    +-- wait for it                                            (watch.h)
 *
 * Whatever fails on the way ends it before there is an app. Afterwards nothing can open
 * a way out: what dies takes the app's network with it.
 */
#pragma once

/* argv[0] is "run". Return: the app's exit status; 2 when it cannot be sealed. */
int run_command(int argc, char **argv);
