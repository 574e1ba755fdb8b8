/*
 * relay/top/screen.h - a terminal that is drawn on, and given back as it was
 */
#pragma once

#include <stdbool.h>
#include <termios.h>

#include "relay/top/view.h"

struct screen {
    struct termios before;
    bool taken;
};

/* The alternate screen, keys one at a time and unseen. Return: 0 or -errno. */
int screen_take(struct screen *s);
/* What the terminal was before; without screen_take(), nothing. */
void screen_give_back(struct screen *s);
/* As many lines and columns as fit. */
void screen_draw(const struct view *view);
