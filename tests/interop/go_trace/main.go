// Command gotraceagent is the trace part of the Go Agent: it takes what tracers send on a loopback port and
// passes it on to a control plane.
//
// Receiver, sampler, obfuscation, statistics and writer are the Agent's published modules, changed in nothing
// and with the Agent's own defaults. This program only plays the parts around them: settings, a log on standard
// error, and one line that says where it listens. Nothing of it speaks to anybody but the control plane.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	compression "github.com/DataDog/datadog-agent/comp/trace/compression/def"
	gzip "github.com/DataDog/datadog-agent/comp/trace/compression/impl-gzip"
	"github.com/DataDog/datadog-agent/pkg/trace/agent"
	"github.com/DataDog/datadog-agent/pkg/trace/config"
	tracelog "github.com/DataDog/datadog-agent/pkg/trace/log"
	"github.com/DataDog/datadog-agent/pkg/trace/telemetry"
	"github.com/DataDog/datadog-go/v5/statsd"
	"github.com/klauspost/compress/zstd"
)

const agentVersion = "7.85.2"

// zstandard packs as the Agent does by default. Its own component for that stands on a module that cannot be
// had at this version; the one for gzip can.
type zstandard struct{}

func (zstandard) Encoding() string { return "zstd" }

func (zstandard) NewWriter(w io.Writer) (io.WriteCloser, error) {
	return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest))
}

func (zstandard) NewReader(r io.Reader) (io.ReadCloser, error) {
	reader, err := zstd.NewReader(r)
	if err != nil {
		return nil, err
	}
	return reader.IOReadCloser(), nil
}

// errorLog tells what the Agent says, a line each.
type errorLog struct{}

func (errorLog) say(level, message string) {
	fmt.Fprintf(os.Stderr, "agent %s: %s\n", level, strings.ReplaceAll(strings.TrimSpace(message), "\n", " "))
}

func (l errorLog) Trace(...any)          {}
func (l errorLog) Tracef(string, ...any) {}
func (l errorLog) Debug(v ...any)        { l.say("debug", fmt.Sprint(v...)) }
func (l errorLog) Info(v ...any)         { l.say("info", fmt.Sprint(v...)) }
func (l errorLog) Flush()                {}

func (l errorLog) Debugf(format string, v ...any) { l.say("debug", fmt.Sprintf(format, v...)) }
func (l errorLog) Infof(format string, v ...any)  { l.say("info", fmt.Sprintf(format, v...)) }

func (l errorLog) Warn(v ...any) error     { l.say("warn", fmt.Sprint(v...)); return nil }
func (l errorLog) Error(v ...any) error    { l.say("error", fmt.Sprint(v...)); return nil }
func (l errorLog) Critical(v ...any) error { l.say("critical", fmt.Sprint(v...)); return nil }

func (l errorLog) Warnf(format string, v ...any) error {
	l.say("warn", fmt.Sprintf(format, v...))
	return nil
}

func (l errorLog) Errorf(format string, v ...any) error {
	l.say("error", fmt.Sprintf(format, v...))
	return nil
}

func (l errorLog) Criticalf(format string, v ...any) error {
	l.say("critical", fmt.Sprintf(format, v...))
	return nil
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "gotraceagent:", err)
		os.Exit(1)
	}
}

func main() {
	url := flag.String("url", "", "the control plane")
	apiKey := flag.String("api-key", "", "key of the Agent")
	ca := flag.String("ca", "", "CA of the control plane")
	hostname := flag.String("hostname", "host-go", "of the Agent")
	packing := flag.String("compression", "zstd", "zstd or gzip")
	features := flag.String("features", "", "what apm_config.features would say")
	flag.Parse()

	if *ca != "" { // the operator's way: a CA the system trusts
		fail(os.Setenv("SSL_CERT_FILE", *ca))
	}
	tracelog.SetLogger(errorLog{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	fail(err)

	settings := config.New()
	settings.AgentVersion = agentVersion
	settings.Hostname = *hostname
	settings.Endpoints = []*config.Endpoint{{Host: *url, APIKey: *apiKey}}
	settings.TelemetryConfig.Endpoints = nil
	// As apm_config.debugger_dd_url and its like, and logs_enabled, would set them.
	settings.DebuggerProxy = config.DebuggerProxyConfig{DDURL: *url + "/api/v2/logs"}
	settings.DebuggerIntakeProxy = config.DebuggerProxyConfig{DDURL: *url + "/api/v2/debugger"}
	settings.SymDBProxy = config.SymDBProxyConfig{DDURL: *url + "/api/v2/debugger"}
	settings.DebuggerLogsEnabled = true
	settings.StatsdEnabled = false
	settings.ReceiverHost = "127.0.0.1"
	settings.ReceiverPort = listener.Addr().(*net.TCPAddr).Port
	settings.DecoderTimeout = 1000
	settings.MaxConnections = 1000
	for _, feature := range strings.Split(*features, ",") {
		if feature != "" {
			settings.Features[feature] = struct{}{}
		}
	}
	var packer compression.Component = zstandard{}
	if *packing == "gzip" {
		packer = gzip.NewComponent()
	}

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	running := agent.NewAgent(ctx, settings, telemetry.NewNoopCollector(), &statsd.NoOpClient{}, packer)
	running.Receiver.SetTCPListener(listener)
	fmt.Printf("listening on %s\n", listener.Addr())
	running.Run()
	fmt.Println("all is sent")
}
