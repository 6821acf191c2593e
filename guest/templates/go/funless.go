package main

import (
	"encoding/json"
	"fmt"
	"log"
	"strings"
	"unsafe"
)

// FunLess for Go: what a function is given, and what it may call.

//go:wasmimport fl_imps __get_input_data
func getInputData(to unsafe.Pointer)

//go:wasmimport fl_imps __insert_response
func insertResponse(from unsafe.Pointer, length uint32)

//go:wasmimport fl_imps __insert_error
func insertError(from unsafe.Pointer, length uint32)

//go:wasmimport fl_imps __console_log
func consoleLog(from unsafe.Pointer, length uint32)

//go:wasmimport fl_imps __http_send
func httpSend(status unsafe.Pointer, method int32, url unsafe.Pointer, urlLength uint32, headers unsafe.Pointer,
	headersLength uint32, body unsafe.Pointer, bodyLength uint32) int32

//go:wasmimport fl_imps __http_read
func httpRead(to unsafe.Pointer, length uint32) int32

// The standard logger writes to the function's log.
func init() {
	log.SetFlags(0)
	log.SetOutput(logWriter{})
}

type logWriter struct{}

func (logWriter) Write(line []byte) (int, error) {
	text := []byte(strings.TrimRight(string(line), "\n"))
	consoleLog(unsafe.Pointer(unsafe.SliceData(text)), uint32(len(text)))
	return len(line), nil
}

// The numbers of the methods.
var methods = map[string]int32{"GET": 0, "POST": 1, "PUT": 2, "DELETE": 3, "PATCH": 4, "HEAD": 5, "OPTIONS": 6}

// Response is what a server responds.
type Response struct {
	Status int
	Body   []byte
}

// Request sends an HTTP request. The headers are lines such as "Accept:text/plain".
func Request(method, url string, headers []string, body []byte) (*Response, error) {
	number, known := methods[method]
	if !known {
		return nil, fmt.Errorf("the method %q is unknown", method)
	}
	u, h := []byte(url), []byte(strings.Join(headers, "\n"))
	var status uint16
	length := httpSend(unsafe.Pointer(&status), number, unsafe.Pointer(unsafe.SliceData(u)), uint32(len(u)),
		unsafe.Pointer(unsafe.SliceData(h)), uint32(len(h)), unsafe.Pointer(unsafe.SliceData(body)), uint32(len(body)))
	if length < 0 {
		return nil, fmt.Errorf("no response from %s; the log says why", url)
	}
	received := make([]byte, length)
	httpRead(unsafe.Pointer(unsafe.SliceData(received)), uint32(length))
	return &Response{Status: int(status), Body: received}, nil
}

// Run calls the function with the arguments of the invocation.
func Run[A, R any](length int32, function func(A) (R, error)) int32 {
	input := make([]byte, length)
	getInputData(unsafe.Pointer(unsafe.SliceData(input)))
	var arguments A
	var response []byte
	err := json.Unmarshal(input, &arguments)
	if err != nil {
		err = fmt.Errorf("invalid arguments: %w", err)
	} else {
		var result R
		if result, err = function(arguments); err == nil {
			response, err = json.Marshal(result)
		}
	}
	if err != nil {
		message := []byte(err.Error())
		insertError(unsafe.Pointer(unsafe.SliceData(message)), uint32(len(message)))
		return 1
	}
	insertResponse(unsafe.Pointer(unsafe.SliceData(response)), uint32(len(response)))
	return 0
}
