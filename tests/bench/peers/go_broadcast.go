// One message to many connections, one after another: PORT.
package main

import (
	"encoding/binary"
	"net"
	"os"
)

func main() {
	control := dial(os.Args[1])
	var conns []net.Conn
	requests(func(r request) facts {
		for count := r.number("connections"); len(conns) != count; {
			if len(conns) < count {
				conns = append(conns, dial(os.Args[1]))
				continue
			}
			last := len(conns) - 1
			conns[last].Close()
			conns = conns[:last]
		}
		message := make([]byte, r.number("size"))
		for i := range message {
			message[i] = byte(i % 251)
		}
		var header [32]byte
		for i, number := range []int{
			len(message), r.count, r.number("verify"), len(conns),
		} {
			binary.BigEndian.PutUint64(header[8*i:], uint64(number))
		}
		_, err := control.Write(header[:])
		check(err)
		watch := startWatch()
		for i := 0; i < r.count; i++ {
			for _, conn := range conns {
				_, err := conn.Write(message)
				check(err)
			}
		}
		arrived := receiveAcknowledgement(control)
		return watch.read(r.count).and(arrived)
	})
}
