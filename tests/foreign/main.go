// A client of org.regionbroker that this project has no hand in: Debian's varlink-go, which knows nothing of descriptors.
// It goes through the life of two environments and prints one JSON object a reply; run.py says what they must be.
//
//	main unix:PATH
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/varlink/go/varlink"
)

const (
	broker   = "org.regionbroker"
	patience = 10 * time.Minute // for all of it
)

type object map[string]interface{}

type client struct {
	ctx        context.Context
	connection *varlink.Connection
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// show prints what a call brought: its result, or its error by name.
func show(call string, result interface{}, err error) {
	line := object{"call": call, "result": result}
	if err != nil {
		line = object{"call": call, "error": err.Error()}
		var refused *varlink.Error
		if errors.As(err, &refused) {
			line["parameters"] = refused.Parameters
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(line); err != nil {
		fail(err)
	}
}

func (c client) call(method string, parameters object) {
	var result object
	err := c.connection.Call(c.ctx, broker+"."+method, parameters, &result)
	show(method, result, err)
}

// more prints every reply of a call that has several.
func (c client) more(method string, parameters object) {
	receive, err := c.connection.Send(c.ctx, broker+"."+method, parameters, varlink.More)
	for flags := uint64(varlink.Continues); err == nil && flags&varlink.Continues != 0; {
		var result object
		flags, err = receive(c.ctx, &result)
		show(method, result, err)
	}
}

func (c client) introduce() {
	var vendor, product, version, url string
	var interfaces []string
	err := c.connection.GetInfo(c.ctx, &vendor, &product, &version, &url, &interfaces)
	show("GetInfo", object{"vendor": vendor, "product": product, "version": version, "interfaces": interfaces}, err)
	for _, name := range append(interfaces, "org.example.unknown") {
		description, err := c.connection.GetInterfaceDescription(c.ctx, name)
		show("GetInterfaceDescription", description, err)
	}
	c.call("NoSuchMethod", nil)
}

func (c client) create(name string, definition object) {
	definition["schema"] = "foreign 1"
	definition["regions"] = []object{{"name": "counters", "type": "env", "size": 5000}}
	c.call("Open", object{"environment": name, "create": "ifAbsent", "definition": definition})
	c.call("Ready", object{"environment": name})
	c.call("Describe", object{"environment": name})
	c.call("Attach", object{"environment": name, "region": "counters", "access": "read"})
}

func main() {
	if len(os.Args) != 2 {
		fail(errors.New("usage: main unix:PATH"))
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	connection, err := varlink.NewConnection(ctx, os.Args[1])
	if err != nil {
		fail(err)
	}
	defer connection.Close()

	c := client{ctx, connection}
	c.introduce()
	c.more("List", nil)
	c.create("foreign-memfd", object{"backing": "memfd", "lifetime": "persistent"})
	c.create("foreign-sysv", object{"backing": "sysv"})
	c.call("List", nil)
	c.more("List", object{"pattern": "foreign-*"})

	c.call("Detach", object{"environment": "foreign-memfd"})
	c.call("Remove", object{"environment": "foreign-memfd"})
	c.call("Remove", object{"environment": "foreign-sysv"})
	c.call("Remove", object{"environment": "foreign-sysv", "force": true})
	c.call("Detach", object{"environment": "foreign-sysv"})
	c.call("GetStatistics", nil)
}
