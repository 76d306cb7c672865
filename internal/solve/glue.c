/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <solv/pool.h>
#include <solv/poolarch.h>
#include <solv/repo.h>
#include <solv/solver.h>
#include <solv/transaction.h>
#include <stdlib.h>

#include "glue.h"

#define STACK_MAX 512 /* deeper than the encoder's limit of nesting needs */

struct Glue {
  Pool *pool;
  Repo *repo; /* being fed */
  Id current; /* solvable being fed */
  Solver *solver;
  Transaction *transaction;
  Queue list;
  Id stack[STACK_MAX];
  int depth;
};

Glue *glue_new(const char *arch) {
  Glue *g = calloc(1, sizeof(*g));
  if (!g)
    return 0;
  queue_init(&g->list);
  g->pool = pool_create();
  pool_setdisttype(g->pool, DISTTYPE_RPM);
  pool_setarch(g->pool, arch);
  return g;
}

void glue_pool_flag(Glue *g, int flag, int value) { pool_set_flag(g->pool, flag, value); }

void glue_free(Glue *g) {
  if (!g)
    return;
  if (g->transaction)
    transaction_free(g->transaction);
  if (g->solver)
    solver_free(g->solver);
  pool_free(g->pool);
  queue_free(&g->list);
  free(g);
}

int glue_arch_ok(Glue *g, const char *arch) { return pool_arch2score(g->pool, pool_str2id(g->pool, arch, 1)) != 0; }

int glue_repo(Glue *g, const char *name, int priority, int subpriority, int installed) {
  g->repo = repo_create(g->pool, name);
  if (!g->repo)
    return -1;
  g->repo->priority = priority;
  g->repo->subpriority = subpriority;
  g->current = 0;
  if (installed)
    pool_set_installed(g->pool, g->repo);
  return 0;
}

static Offset *deps(Solvable *s, int kind) {
  switch (kind) {
  case GLUE_PROVIDES: return &s->provides;
  case GLUE_REQUIRES: return &s->requires;
  case GLUE_CONFLICTS: return &s->conflicts;
  case GLUE_OBSOLETES: return &s->obsoletes;
  case GLUE_RECOMMENDS: return &s->recommends;
  case GLUE_SUGGESTS: return &s->suggests;
  case GLUE_SUPPLEMENTS: return &s->supplements;
  case GLUE_ENHANCES: return &s->enhances;
  }
  return 0;
}

static void add_dep(Glue *g, int kind, int after, Id id) {
  Solvable *s = pool_id2solvable(g->pool, g->current);
  Offset *o = deps(s, kind);
  Id marker = 0;
  if (id == SOLVABLE_PREREQMARKER || id == SOLVABLE_FILEMARKER)
    return; /* words of libsolv's own, never a package's */
  if (kind == GLUE_REQUIRES)
    marker = after ? SOLVABLE_PREREQMARKER : -SOLVABLE_PREREQMARKER;
  else if (kind == GLUE_PROVIDES)
    marker = after ? SOLVABLE_FILEMARKER : -SOLVABLE_FILEMARKER;
  *o = repo_addid_dep(g->repo, *o, id, marker);
}

static void new_solvable(Glue *g) {
  Solvable *s;
  g->current = repo_add_solvable(g->repo);
  s = pool_id2solvable(g->pool, g->current);
  s->name = g->stack[0];
  s->evr = g->stack[1];
  s->arch = g->stack[2];
  g->depth = 0;
  add_dep(g, GLUE_PROVIDES, 0, pool_rel2id(g->pool, s->name, s->evr, REL_EQ, 1));
}

static int run(Glue *g, const unsigned char *b, size_t n) {
  size_t i = 0;
  while (i < n) {
    switch (b[i++]) {
    case GLUE_STR: {
      size_t len;
      if (n - i < 4)
        return -1;
      len = b[i] | (size_t)b[i + 1] << 8 | (size_t)b[i + 2] << 16 | (size_t)b[i + 3] << 24;
      i += 4;
      if (len > n - i || len > INT_MAX || g->depth == STACK_MAX)
        return -1;
      g->stack[g->depth++] = pool_strn2id(g->pool, (const char *)b + i, (unsigned int)len, 1);
      i += len;
      break;
    }
    case GLUE_REL:
      if (i == n || g->depth < 2)
        return -1;
      g->depth--;
      g->stack[g->depth - 1] = pool_rel2id(g->pool, g->stack[g->depth - 1], g->stack[g->depth], b[i++], 1);
      break;
    case GLUE_NEW:
      if (g->depth != 3 || !g->repo)
        return -1;
      new_solvable(g);
      break;
    case GLUE_DEP:
      if (n - i < 2 || g->depth != 1 || !g->current || b[i] >= GLUE_KINDS)
        return -1;
      g->depth = 0;
      add_dep(g, b[i], b[i + 1], g->stack[0]);
      i += 2;
      break;
    default:
      return -1;
    }
  }
  return 0;
}

int glue_feed(Glue *g, const unsigned char *program, size_t size) {
  return run(g, program, size) || g->depth ? -1 : 0;
}

void glue_index(Glue *g) { pool_createwhatprovides(g->pool); }

int glue_dep(Glue *g, const unsigned char *program, size_t size) {
  int ok = run(g, program, size) == 0 && g->depth == 1;
  g->depth = 0;
  return ok ? g->stack[0] : 0;
}

int glue_one_of(Glue *g, const int *ids, int count) { return pool_ids2whatprovides(g->pool, (Id *)ids, count); }

int glue_solve(Glue *g, const int *jobs, int count, const int *flags, int flag_count) {
  Queue q;
  int i, problems;
  Solver *s;
  if (g->solver)
    return -1;
  queue_init(&q);
  for (i = 0; i < count; i++)
    queue_push(&q, jobs[i]);
  g->solver = s = solver_create(g->pool);
  for (i = 0; i + 1 < flag_count; i += 2)
    solver_set_flag(s, flags[i], flags[i + 1]);
  problems = solver_solve(s, &q);
  queue_free(&q);
  g->transaction = solver_create_transaction(s); /* with problems: what could be done for all else */
  transaction_order(g->transaction, 0);
  return problems;
}

static int is_installed(Glue *g, Id p) {
  return g->pool->installed && pool_id2solvable(g->pool, p)->repo == g->pool->installed;
}

void glue_providers(Glue *g, int dep) {
  Id p, pp;
  Pool *pool = g->pool;
  queue_empty(&g->list);
  FOR_PROVIDES(p, pp, dep)
    queue_push(&g->list, p);
}

void glue_steps(Glue *g) {
  int i;
  Id info;
  queue_empty(&g->list);
  for (i = 0; g->transaction && i < g->transaction->steps.count; i++) {
    Id p = g->transaction->steps.elements[i];
    if (is_installed(g, p) || solver_get_decisionlevel(g->solver, p) <= 0)
      continue;
    queue_push2(&g->list, p, solver_describe_decision(g->solver, p, &info));
  }
}

void glue_removed(Glue *g) {
  Id p;
  Solvable *s;
  Repo *r = g->pool->installed;
  queue_empty(&g->list);
  if (!r || !g->solver)
    return;
  FOR_REPO_SOLVABLES(r, p, s)
    if (solver_get_decisionlevel(g->solver, p) <= 0)
      queue_push(&g->list, p);
}

void glue_problems(Glue *g) {
  Queue rules, infos;
  int n, i, j, count;
  queue_empty(&g->list);
  if (!g->solver)
    return;
  queue_init(&rules);
  queue_init(&infos);
  count = (int)solver_problem_count(g->solver);
  for (n = 1; n <= count; n++) {
    queue_empty(&rules);
    solver_findallproblemrules(g->solver, n, &rules);
    for (i = 0; i < rules.count; i++) {
      Id rule = rules.elements[i];
      int job = 0;
      if ((solver_ruleclass(g->solver, rule) & SOLVER_RULE_TYPEMASK) == SOLVER_RULE_JOB)
        job = solver_rule2jobidx(g->solver, rule);
      queue_empty(&infos);
      solver_allruleinfos(g->solver, rule, &infos);
      for (j = 0; j + 3 < infos.count; j += 4) {
        queue_push2(&g->list, n, infos.elements[j]);
        queue_push2(&g->list, infos.elements[j + 1], infos.elements[j + 2]);
        queue_push2(&g->list, infos.elements[j + 3], job);
      }
    }
  }
  queue_free(&infos);
  queue_free(&rules);
}

void glue_solutions(Glue *g) {
  int n, s, count, solutions;
  queue_empty(&g->list);
  if (!g->solver)
    return;
  count = (int)solver_problem_count(g->solver);
  for (n = 1; n <= count; n++) {
    solutions = (int)solver_solution_count(g->solver, n);
    for (s = 1; s <= solutions; s++) {
      Id element = 0, p, rp;
      while ((element = solver_next_solutionelement(g->solver, n, s, element, &p, &rp)) != 0) {
        queue_push2(&g->list, n, s);
        queue_push2(&g->list, p, rp);
      }
    }
  }
}

const int *glue_list(Glue *g, int *count) {
  *count = g->list.count;
  return g->list.elements;
}

const char *glue_depstr(Glue *g, int dep) { return dep ? pool_dep2str(g->pool, dep) : ""; }
