// pion/turn 2 against the relay: two clients, each with a relayed address, exchange
// messages through both (client - relay - relay - client), over UDP, TCP and TLS.
//
// Prints "ok - name" and "not ok - name" lines; tests/interop/pion.sh numbers them.
// Arguments: relay host:port, TLS host:port, realm, user, password.
package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/pion/turn/v2"
)

const nMessages = 300

var failed = false

func check(name string, good bool, why string) {
	if good {
		fmt.Println("ok - " + name)
		return
	}
	failed = true
	fmt.Println("not ok - " + name)
	fmt.Println(why)
}

// A client with its allocation.
type endpoint struct {
	client *turn.Client
	conn   net.PacketConn
}

func (e *endpoint) close() {
	if e.conn != nil {
		e.conn.Close()
	}
	if e.client != nil {
		e.client.Close()
	}
}

func dial(network, server string) (net.PacketConn, error) {
	switch network {
	case "udp":
		return net.ListenPacket("udp4", "127.0.0.4:0")
	case "tcp":
		conn, err := net.Dial("tcp", server)
		if err != nil {
			return nil, err
		}
		return turn.NewSTUNConn(conn), nil
	default:
		conn, err := tls.Dial("tcp", server, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			return nil, err
		}
		return turn.NewSTUNConn(conn), nil
	}
}

func allocate(network, server, realm, user, password string) (*endpoint, error) {
	inner, err := dial(network, server)
	if err != nil {
		return nil, err
	}
	e := &endpoint{}
	e.client, err = turn.NewClient(&turn.ClientConfig{
		STUNServerAddr: server, TURNServerAddr: server, Conn: inner,
		Username: user, Password: password, Realm: realm,
	})
	if err != nil {
		return nil, err
	}
	if err = e.client.Listen(); err != nil {
		return nil, err
	}
	e.conn, err = e.client.Allocate()
	if err != nil {
		e.close()
		return nil, err
	}
	return e, nil
}

// Every length modulo 4, so that padding on streams is put to the test.
func message(from string, i int) []byte {
	return []byte(fmt.Sprintf("%s %06d %s", from, i, strings.Repeat("x", i%701)))
}

// Receives one message that must be `want` and come from `from`.
func expect(conn net.PacketConn, want []byte, from net.Addr) error {
	buf := make([]byte, 2048)
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	n, addr, err := conn.ReadFrom(buf)
	if err != nil {
		return err
	}
	if !bytes.Equal(buf[:n], want) {
		return fmt.Errorf("received %q, expected %q", buf[:n], want)
	}
	if addr.String() != from.String() {
		return fmt.Errorf("from %s, expected %s", addr, from)
	}
	return nil
}

// Strictly one message at a time: UDP promises no order, and a lost one must be noticed.
func converse(a, b *endpoint) error {
	if err := a.client.CreatePermission(b.conn.LocalAddr()); err != nil {
		return err
	}
	if err := b.client.CreatePermission(a.conn.LocalAddr()); err != nil {
		return err
	}
	for i := 0; i < nMessages; i++ {
		if _, err := a.conn.WriteTo(message("a", i), b.conn.LocalAddr()); err != nil {
			return fmt.Errorf("message %d: %w", i, err)
		}
		if err := expect(b.conn, message("a", i), a.conn.LocalAddr()); err != nil {
			return fmt.Errorf("message %d to b: %w", i, err)
		}
		if _, err := b.conn.WriteTo(message("b", i), a.conn.LocalAddr()); err != nil {
			return fmt.Errorf("message %d: %w", i, err)
		}
		if err := expect(a.conn, message("b", i), b.conn.LocalAddr()); err != nil {
			return fmt.Errorf("message %d to a: %w", i, err)
		}
	}
	return nil
}

func call(networkA, serverA, networkB, serverB, realm, user, password string) {
	name := networkA + " to " + networkB
	a, err := allocate(networkA, serverA, realm, user, password)
	if err != nil {
		check(name+": allocations", false, err.Error())
		return
	}
	defer a.close()
	b, err := allocate(networkB, serverB, realm, user, password)
	if err != nil {
		check(name+": allocations", false, err.Error())
		return
	}
	defer b.close()
	err = converse(a, b)
	check(fmt.Sprintf("%s: %d messages each way through two relayed addresses", name, nMessages),
		err == nil, fmt.Sprint(err))
}

func main() {
	plain, secure := os.Args[1], os.Args[2]
	realm, user, password := os.Args[3], os.Args[4], os.Args[5]

	call("udp", plain, "udp", plain, realm, user, password)
	call("tcp", plain, "tcp", plain, realm, user, password)
	call("udp", plain, "tcp", plain, realm, user, password)
	call("tls", secure, "udp", plain, realm, user, password)

	_, err := allocate("udp", plain, realm, user, "wrong")
	check("a wrong password is refused with 401", err != nil && strings.Contains(err.Error(), "401"),
		fmt.Sprint(err))
	if failed {
		os.Exit(1)
	}
}
