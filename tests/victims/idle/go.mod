module stranded.test/idle

go 1.17
