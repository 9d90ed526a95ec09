module stranded.test/e2e

go 1.17
