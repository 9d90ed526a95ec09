module stranded.test/waits

go 1.18
