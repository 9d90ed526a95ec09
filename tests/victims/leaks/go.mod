module example.com/leaks

go 1.18

require (
	github.com/gorilla/websocket v1.5.0
	go.uber.org/goleak v1.2.1
	golang.org/x/sync v0.1.0
)
