module stranded.test/redis

go 1.17
