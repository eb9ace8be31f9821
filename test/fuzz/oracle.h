/* The naive matcher that src/pattern is compared with: see oracle.c. */
#ifndef ORACLE_H
#define ORACLE_H

#include "json.h"

typedef struct OracleEvent OracleEvent;

/* Takes an event apart; NULL if it is too large for this. */
extern OracleEvent *oracle_event(const Json *event);

/* False if trying all combinations would take too long to be worth it */
extern bool oracle_can_afford(const Json *pattern, const OracleEvent *event);

/* The pattern must be a valid one. */
extern bool oracle_matches(const Json *pattern, const OracleEvent *event);

#endif							/* ORACLE_H */
