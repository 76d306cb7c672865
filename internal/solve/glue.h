/* SPDX-License-Identifier: Apache-2.0 */
/* The few calls of libsolv's core that solve needs. All state hangs on one Glue; glue_free frees it all.
   No pointer that Go passes is kept. Ids of solvables begin at 2 and follow the order of feeding. */
#ifndef GROVE_GLUE_H
#define GROVE_GLUE_H

#include <stddef.h>

typedef struct Glue Glue;

enum { GLUE_STR = 1, GLUE_REL, GLUE_NEW, GLUE_DEP };
enum { GLUE_PROVIDES, GLUE_REQUIRES, GLUE_CONFLICTS, GLUE_OBSOLETES,
       GLUE_RECOMMENDS, GLUE_SUGGESTS, GLUE_SUPPLEMENTS, GLUE_ENHANCES, GLUE_KINDS };

/* arch 0: every architecture can be installed. */
Glue *glue_new(const char *arch);

/* Sets a flag of the pool (POOL_FLAG_*), before any repo. */
void glue_pool_flag(Glue *g, int flag, int value);
void glue_free(Glue *g);

/* Whether packages of an architecture can be installed. */
int glue_arch_ok(Glue *g, const char *arch);

/* Begins a repo; higher numbers win. installed != 0: the packages that are there. 0 or -1. */
int glue_repo(Glue *g, const char *name, int priority, int subpriority, int installed);

/* Runs a program of the stack machine (feed.go writes it). 0, or -1 for a malformed one. */
int glue_feed(Glue *g, const unsigned char *program, size_t size);

/* After the last feed of packages. */
void glue_index(Glue *g);

/* The id that a program leaves on the stack; 0 = none. */
int glue_dep(Glue *g, const unsigned char *program, size_t size);

/* A queue of candidates as an id for a SOLVER_SOLVABLE_ONE_OF job. */
int glue_one_of(Glue *g, const int *ids, int count);

/* Runs the solver over pairs (how, what), with pairs (SOLVER_FLAG_*, value). Number of problems, -1 if called twice. */
int glue_solve(Glue *g, const int *jobs, int count, const int *flags, int flag_count);

/* Each fills the one output list, valid until the next call. */
void glue_providers(Glue *g, int dep);  /* id ...                                     */
void glue_steps(Glue *g);               /* id, reason ... new packages, in rpm's order */
void glue_removed(Glue *g);             /* id ... installed ones that go               */
void glue_problems(Glue *g);            /* problem, type, from, to, dep, job ...       */
void glue_solutions(Glue *g);           /* problem, solution, p, rp ...                */
const int *glue_list(Glue *g, int *count);

/* Text of a dependency, valid until the next call. */
const char *glue_depstr(Glue *g, int dep);

#endif
