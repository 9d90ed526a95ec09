// SPDX-License-Identifier: Apache-2.0

package sqlrows

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"example.com/leaks/side"
	"io"
	"testing"
)

func TestMain(m *testing.M) { side.Main(m) }

type fake struct{}

func (fake) Open(string) (driver.Conn, error)           { return fake{}, nil }
func (fake) Prepare(string) (driver.Stmt, error)        { return fake{}, nil }
func (fake) Close() error                               { return nil }
func (fake) Begin() (driver.Tx, error)                  { return fake{}, nil }
func (fake) Commit() error                              { return nil }
func (fake) Rollback() error                            { return nil }
func (fake) NumInput() int                              { return 0 }
func (fake) Exec([]driver.Value) (driver.Result, error) { return nil, nil }
func (fake) Query([]driver.Value) (driver.Rows, error)  { return &rows{n: 3}, nil }

type rows struct{ n int }

func (*rows) Columns() []string { return []string{"a"} }
func (*rows) Close() error      { return nil }
func (r *rows) Next(to []driver.Value) error {
	if r.n--; r.n < 0 {
		return io.EOF
	}
	to[0] = int64(r.n)
	return nil
}

func init() { sql.Register("fake", fake{}) }

func query(t *testing.T) (*sql.DB, *sql.Rows, context.CancelFunc) {
	db, err := sql.Open("fake", "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r, err := db.QueryContext(ctx, "select")
	if err != nil {
		t.Fatal(err)
	}
	if !r.Next() {
		t.Fatal("no row")
	}
	return db, r, cancel
}

func TestLeaky(t *testing.T) {
	_, _, cancel := query(t) // neither rows nor database are closed
	_ = cancel
}

func TestHealthy(t *testing.T) {
	db, r, cancel := query(t)
	defer cancel()
	r.Close()
	db.Close()
}
