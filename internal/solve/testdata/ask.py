# SPDX-License-Identifier: Apache-2.0
# Asks dnf for what it would install into an empty root: a JSON question on standard input, a list of answers on
# standard output, each a sorted list of package names, or an error's text.
import json
import logging
import sys

import dnf

logging.disable(logging.CRITICAL)


def ask(dir, repos, requests):
    base = dnf.Base()
    c = base.conf
    c.installroot, c.cachedir, c.persistdir, c.logdir = dir + "/root", dir + "/cache", dir + "/state", dir
    c.substitutions.update({"arch": "x86_64", "basearch": "x86_64", "releasever": "9"})
    c.best = False
    c.gpgcheck = False
    for r in repos:
        repo = dnf.repo.Repo(r["id"], c)
        repo.baseurl = ["file://" + r["path"]]
        if r["priority"]:
            repo.priority = r["priority"]
        if r["cost"]:
            repo.cost = r["cost"]
        base.repos.add(repo)
    base.fill_sack(load_system_repo=False)
    for r in requests:
        base.reset(goal=True)
        base.sack.reset_excludes()
        c.install_weak_deps = not r["noweak"]
        for x in r["exclude"] or []:
            base.sack.add_excludes(dnf.subject.Subject(x).get_best_query(base.sack, with_provides=False))
        try:
            base.install_specs(r["install"])
            base.resolve()
            yield {"packages": sorted(str(p) for p in base.transaction.install_set)}
        except dnf.exceptions.Error as e:
            yield {"error": str(e)}


json.dump([list(ask(q["dir"], q["repos"], q["requests"])) for q in json.load(sys.stdin)], sys.stdout)
