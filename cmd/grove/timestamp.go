// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strconv"
	"strings"
	"time"
)

// dateForms are the ways to write a date. Without a zone it is of the local one.
var dateForms = []string{time.RFC3339, "2006-01-02 15:04:05 -0700", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02T15:04:05", "2006-01-02"}

// parseTimestamp reads @SECONDS, a date, or a time ago such as "2 weeks ago" or yesterday.
func parseTimestamp(s string) (uint64, error) {
	if n, ok := strings.CutPrefix(s, "@"); ok {
		v, err := strconv.ParseUint(n, 10, 63)
		if err != nil {
			return 0, usage("timestamp %q: want @SECONDS", s)
		}
		return v, nil
	}
	for _, form := range dateForms {
		if t, err := time.ParseInLocation(form, s, time.Local); err == nil && t.Unix() >= 0 {
			return uint64(t.Unix()), nil
		}
	}
	if t, ok := timeAgo(s, time.Now()); ok && t.Unix() >= 0 {
		return uint64(t.Unix()), nil
	}
	return 0, usage("timestamp %q: want @SECONDS, a date such as 2026-01-31T12:00:00Z or 2026-01-31, or a time such as \"3 days ago\"", s)
}

// timeAgo reads now, yesterday, and "N UNIT ago".
func timeAgo(s string, now time.Time) (time.Time, bool) {
	words := strings.Fields(strings.ToLower(s))
	switch {
	case len(words) == 1 && words[0] == "now":
		return now, true
	case len(words) == 1 && words[0] == "yesterday":
		return now.AddDate(0, 0, -1), true
	case len(words) != 3 || words[2] != "ago":
		return now, false
	}
	n, err := strconv.Atoi(words[0])
	if err != nil || n < 0 || n > 1<<30 {
		return now, false
	}
	switch strings.TrimSuffix(words[1], "s") {
	case "second", "sec":
		return now.Add(-time.Duration(n) * time.Second), true
	case "minute", "min":
		return now.Add(-time.Duration(n) * time.Minute), true
	case "hour":
		return now.Add(-time.Duration(n) * time.Hour), true
	case "day":
		return now.AddDate(0, 0, -n), true
	case "week":
		return now.AddDate(0, 0, -7*n), true
	case "month":
		return now.AddDate(0, -n, 0), true
	case "year":
		return now.AddDate(-n, 0, 0), true
	}
	return now, false
}
