// Datagrams by golang.org/x/net/ipv4: WriteBatch and ReadBatch.
//
//	go_datagrams send PORT       to the sink at PORT
//	go_datagrams receive PORT    from the source at PORT
//	go_datagrams echo            a server
package main

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
)

const (
	size          = 1200
	receiveBuffer = 8 << 20
	rcvBufForce   = 33
)

func bound() *net.UDPConn {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	check(err)
	check(conn.SetReadBuffer(receiveBuffer))
	raw, err := conn.SyscallConn()
	check(err)
	raw.Control(func(fd uintptr) {
		// Refused to all but root.
		syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, rcvBufForce, receiveBuffer)
	})
	return conn
}

// plan returns the messages of a batch, all ready to be sent again and again.
func plan(asked request, port int) []ipv4.Message {
	messages := make([]ipv4.Message, asked.number("batch"))
	for i := range messages {
		length := size
		if asked.name == "mixed" {
			length = 64 + i*331%1400
		}
		payload := bytes.Repeat([]byte{byte(i)}, length)
		messages[i].Buffers = [][]byte{payload}
		if asked.name == "many" {
			messages[i].Addr = &net.UDPAddr{
				IP: net.IPv4(127, 0, 0, byte(1+i)), Port: port}
		}
	}
	return messages
}

func writeAll(conn *ipv4.PacketConn, messages []ipv4.Message) {
	for len(messages) > 0 {
		sent, err := conn.WriteBatch(messages, 0)
		check(err)
		messages = messages[sent:]
	}
}

func send(port string) {
	sink := dial(port)
	number, err := strconv.Atoi(port)
	check(err)
	peer := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: number}
	dialled, err := net.DialUDP("udp4", nil, peer)
	check(err)
	connected, free := ipv4.NewPacketConn(dialled), ipv4.NewPacketConn(bound())
	requests(func(asked request) facts {
		messages := plan(asked, number)
		conn := connected
		if asked.name == "many" {
			conn = free
		}
		sent := uint64(asked.count * len(messages))
		watch := startWatch()
		for i := 0; i < asked.count; i++ {
			writeAll(conn, messages)
		}
		check(binary.Write(sink, binary.BigEndian, sent))
		var arrived [3]uint64
		check(binary.Read(sink, binary.BigEndian, &arrived))
		return watch.read(asked.count).and(facts{
			"datagrams": arrived[0], "bytes": arrived[1], "wrong": arrived[2]})
	})
}

func room(batch int) []ipv4.Message {
	messages := make([]ipv4.Message, batch)
	for i := range messages {
		messages[i].Buffers = [][]byte{make([]byte, 2048)}
	}
	return messages
}

func receive(port string) {
	source := dial(port)
	udp := bound()
	conn := ipv4.NewPacketConn(udp)
	own := uint64(udp.LocalAddr().(*net.UDPAddr).Port)
	requests(func(asked request) facts {
		messages := room(asked.number("batch"))
		block := asked.number("block")
		order := []uint64{own, uint64(block), size}
		streaming := strings.HasPrefix(asked.name, "stream")
		var spent, used time.Duration
		watch := startWatch()
		stop := func() {
			spent += time.Since(watch.start)
			used += cpuTime() - watch.cpu
		}
		// See Receiving in datagram_measuring.py.
		if streaming {
			check(binary.Write(source, binary.BigEndian, order))
		}
		here, bytes := 0, 0
		for i := 0; i < asked.count; i++ {
			if !streaming || i+1 < asked.count {
				check(binary.Write(source, binary.BigEndian, order))
			}
			if !streaming {
				confirm(source, 1)
				watch = startWatch()
			}
			for here < block {
				received, err := conn.ReadBatch(messages, 0)
				check(err)
				here += received
				for _, message := range messages[:received] {
					bytes += message.N
				}
			}
			here -= block
			if !streaming {
				stop()
			}
		}
		if streaming {
			stop()
			confirm(source, asked.count)
		}
		return facts{
			"seconds": spent.Seconds(), "cpu": used.Seconds(),
			"count": asked.count, "datagrams": block*asked.count + here,
			"bytes": bytes}
	})
}

// confirm waits until the source says of so many blocks that they are sent.
func confirm(source net.Conn, blocks int) {
	_, err := io.ReadFull(source, make([]byte, blocks))
	check(err)
}

func echo() {
	udp := bound()
	conn := ipv4.NewPacketConn(udp)
	answer(facts{
		"ready": true, "port": udp.LocalAddr().(*net.UDPAddr).Port})
	messages := room(64)
	for {
		received, err := conn.ReadBatch(messages, 0)
		check(err)
		for i := range messages[:received] {
			messages[i].Buffers[0] = messages[i].Buffers[0][:messages[i].N]
		}
		writeAll(conn, messages[:received])
		for i := range messages[:received] {
			messages[i].Buffers[0] = messages[i].Buffers[0][:2048]
		}
	}
}

func main() {
	switch {
	case len(os.Args) == 3 && os.Args[1] == "send":
		send(os.Args[2])
	case len(os.Args) == 3 && os.Args[1] == "receive":
		receive(os.Args[2])
	case len(os.Args) == 2 && os.Args[1] == "echo":
		echo()
	default:
		os.Exit(2)
	}
}
