// SPDX-License-Identifier: Apache-2.0

package rpmdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"grove/internal/rpm"
)

// batch is the number of rows of one statement: it takes most of the cost of a call away, and stays
// far below sqlite's limit of 32766 parameters.
const batch = 64

// writer adds packages through prepared statements, the rows of an index table in batches.
type writer struct {
	conn     *sql.Conn
	packages *sql.Stmt
	rows     [len(tablesOfSize)]pending
}

// tablesOfSize only gives the number of tables to the compiler.
var tablesOfSize [18]struct{}

type pending struct {
	full *sql.Stmt
	args []any
}

func (w *writer) add(e Entry) error {
	data, err := Blob(e)
	if err != nil {
		return err
	}
	h, err := rpm.ParseHeader(data)
	if err != nil {
		return fmt.Errorf("header of %s: %w", e.Header.NEVRA(), err)
	}
	ctx := context.Background()
	if w.packages == nil {
		if w.packages, err = w.conn.PrepareContext(ctx, "INSERT INTO 'Packages' (blob) VALUES (?)"); err != nil {
			return err
		}
	}
	result, err := w.packages.ExecContext(ctx, data)
	if err != nil {
		return err
	}
	hnum, err := result.LastInsertId()
	if err != nil {
		return err
	}
	for i, t := range tables {
		err := t.eachRow(h, func(key any, idx uint32) error {
			w.rows[i].args = append(w.rows[i].args, key, hnum, int64(idx))
			if len(w.rows[i].args) == 3*batch {
				return w.put(i)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// put writes the rows that wait for table i.
func (w *writer) put(i int) (err error) {
	p := &w.rows[i]
	n := len(p.args) / 3
	query := func() string {
		return "INSERT INTO '" + tables[i].name + "' (key, hnum, idx) VALUES (?,?,?)" + strings.Repeat(",(?,?,?)", n-1)
	}
	switch {
	case n == 0:
		return nil
	case n < batch:
		_, err = w.conn.ExecContext(context.Background(), query(), p.args...)
	default:
		if p.full == nil {
			if p.full, err = w.conn.PrepareContext(context.Background(), query()); err != nil {
				return err
			}
		}
		_, err = p.full.ExecContext(context.Background(), p.args...)
	}
	p.args = p.args[:0]
	return err
}

func (w *writer) flush() error {
	for i := range w.rows {
		if err := w.put(i); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) close() error {
	var errs []error
	if w.packages != nil {
		errs = append(errs, w.packages.Close())
	}
	for _, p := range w.rows {
		if p.full != nil {
			errs = append(errs, p.full.Close())
		}
	}
	return errors.Join(errs...)
}
