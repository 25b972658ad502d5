// Command goagent runs the Go Agent's own remote-config service with one tracer as its client.
//
// The service (polling, Uptane verification, its database, what clients are answered) and the client's
// repository are the Agent's published modules, driven through what they export and changed in nothing.
// This program only plays the parts around them: the Agent's settings and an application's tracer, which
// polls twice a second and acknowledges all it is given. Each time the picture changes it prints it as one
// line of JSON. SIGHUP lets the application start anew: another client id that holds nothing.
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"expvar"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"reflect"
	"sort"
	"strings"
	"syscall"
	"time"

	"github.com/DataDog/datadog-agent/pkg/config/remote/service"
	pbgo "github.com/DataDog/datadog-agent/pkg/proto/pbgo/core"
	"github.com/DataDog/datadog-agent/pkg/remoteconfig/state"
	agentlog "github.com/DataDog/datadog-agent/pkg/util/log"
)

const (
	agentVersion = "7.85.2"
	site         = "datadoghq.com"
	pollEvery    = 500 * time.Millisecond
)

// picture is what can be seen from outside after one poll of the tracer.
type picture struct {
	Client        string            `json:"client"`         // its id
	Targets       int64             `json:"targets"`        // version the client verified
	Root          int64             `json:"root"`           // director root the client verified
	Files         map[string]string `json:"files"`          // what the client verified and holds, by path
	ClientConfigs []string          `json:"client_configs"` // paths of the last answer that said something
	Status        string            `json:"status"`         // of that answer
	AnswerError   string            `json:"answer_error"`   // the service refused the client
	ClientError   string            `json:"client_error"`   // the client refused the answer
	Director      map[string]uint64 `json:"director"`       // versions in the Agent's database
	Config        map[string]uint64 `json:"config"`
	Stored        []string          `json:"stored"` // target files in the Agent's database
	AgentError    string            `json:"agent_error"`
	OrgEnabled    string            `json:"org_enabled"`
	KeyScoped     string            `json:"key_scoped"`
}

// tracer is an application's tracer as far as the Agent can tell.
type tracer struct {
	id, runtimeID, service, env string
	products                    []string
	repository                  *state.Repository
	contents                    map[string]string // of every file it was ever sent, by path
	lastError                   string
}

func newTracer(service, env string, products []string, directorRoot []byte) (*tracer, error) {
	repository, err := state.NewRepository(directorRoot)
	if err != nil {
		return nil, err
	}
	return &tracer{
		id: randomID(), runtimeID: randomID(), service: service, env: env,
		products: products, repository: repository, contents: map[string]string{},
	}, nil
}

func (t *tracer) request() (*pbgo.ClientGetConfigsRequest, error) {
	held, err := t.repository.CurrentState()
	if err != nil {
		return nil, err
	}
	var states []*pbgo.ConfigState
	for _, config := range held.Configs {
		states = append(states, &pbgo.ConfigState{
			Id: config.ID, Version: config.Version, Product: config.Product,
			ApplyState: uint64(config.ApplyStatus.State), ApplyError: config.ApplyStatus.Error,
		})
	}
	var cached []*pbgo.TargetFileMeta
	for _, file := range held.CachedFiles {
		meta := &pbgo.TargetFileMeta{Path: file.Path, Length: int64(file.Length)}
		for algorithm, hash := range file.Hashes {
			meta.Hashes = append(meta.Hashes, &pbgo.TargetFileHash{
				Algorithm: algorithm, Hash: hex.EncodeToString(hash),
			})
		}
		cached = append(cached, meta)
	}
	return &pbgo.ClientGetConfigsRequest{
		CachedTargetFiles: cached,
		Client: &pbgo.Client{
			Id:       t.id,
			Products: t.products,
			IsTracer: true,
			ClientTracer: &pbgo.ClientTracer{
				RuntimeId: t.runtimeID, Language: "go", TracerVersion: "2.0.0",
				Service: t.service, Env: t.env, AppVersion: "1.0",
			},
			State: &pbgo.ClientState{
				RootVersion: uint64(held.RootsVersion), TargetsVersion: uint64(held.TargetsVersion),
				ConfigStates: states, HasError: t.lastError != "", Error: t.lastError,
				BackendClientState: held.OpaqueBackendState,
			},
		},
	}, nil
}

// poll asks once and applies what comes; the picture is updated in place.
func (t *tracer) poll(agent *service.CoreAgentService, seen *picture) {
	seen.Client, seen.AnswerError = t.id, ""
	request, err := t.request()
	if err != nil {
		seen.ClientError = err.Error()
		return
	}
	answer, err := agent.ClientGetConfigs(context.Background(), request)
	if err != nil {
		seen.AnswerError = err.Error()
		return
	}
	files := map[string][]byte{}
	for _, file := range answer.TargetFiles {
		files[file.Path] = file.Raw
	}
	_, err = t.repository.Update(state.Update{
		TUFRoots: answer.Roots, TUFTargets: answer.Targets,
		TargetFiles: files, ClientConfigs: answer.ClientConfigs,
	})
	t.lastError = ""
	if err != nil {
		t.lastError = err.Error()
	}
	seen.ClientError = t.lastError
	if len(answer.Targets) > 0 {
		seen.ClientConfigs = append([]string{}, answer.ClientConfigs...)
		sort.Strings(seen.ClientConfigs)
		seen.Status = answer.ConfigStatus.String()
	}
	for path, raw := range files {
		t.contents[path] = string(raw)
	}
	held, err := t.repository.CurrentState()
	if err != nil {
		seen.ClientError = err.Error()
		return
	}
	seen.Targets, seen.Root = held.TargetsVersion, held.RootsVersion
	seen.Files = map[string]string{}
	for _, file := range held.CachedFiles {
		t.repository.UpdateApplyStatus(file.Path, state.ApplyStatus{State: state.ApplyStateAcknowledged})
		seen.Files[file.Path] = t.contents[file.Path]
	}
}

// look adds what the Agent says about itself.
func look(agent *service.CoreAgentService, seen *picture) {
	if told, err := agent.ConfigGetState(); err == nil {
		seen.Director, seen.Config = versions(told.DirectorState), versions(told.ConfigState)
		seen.Stored = []string{}
		for path := range told.TargetFilenames {
			seen.Stored = append(seen.Stored, path)
		}
		sort.Strings(seen.Stored)
	}
	seen.AgentError = exported("lastError")
	seen.OrgEnabled, seen.KeyScoped = exported("orgEnabled"), exported("apiKeyScoped")
}

func versions(files map[string]*pbgo.FileMetaState) map[string]uint64 {
	found := map[string]uint64{}
	for name, file := range files {
		found[name] = file.Version
	}
	return found
}

// exported reads the variable in which the Agent tells `agent status` about remote config.
func exported(name string) string {
	status, ok := expvar.Get("remoteConfigStatus").(*expvar.Map)
	if !ok || status.Get(name) == nil {
		return ""
	}
	var text string
	if err := json.Unmarshal([]byte(status.Get(name).String()), &text); err != nil {
		return status.Get(name).String()
	}
	return text
}

func randomID() string {
	raw := make([]byte, 16)
	_, _ = rand.Read(raw)
	return hex.EncodeToString(raw)
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "goagent:", err)
		os.Exit(1)
	}
}

func main() {
	url := flag.String("url", "", "the control plane")
	apiKey := flag.String("api-key", "", "key of the Agent")
	configRoot := flag.String("config-root-file", "", "first root of the config repository")
	directorRoot := flag.String("director-root-file", "", "first root of the director repository")
	database := flag.String("db", "", "folder of the Agent's database")
	ca := flag.String("ca", "", "CA of the control plane")
	hostname := flag.String("hostname", "host-go", "of the Agent")
	app := flag.String("service", "shop", "of the application")
	env := flag.String("env", "prod", "of the application")
	products := flag.String("products", "ASM_FEATURES,ASM_DATA", "of the tracer, by comma")
	refresh := flag.Duration("refresh", 0, "the Agent's own interval; 0 leaves it to the control plane")
	flag.Parse()

	if *ca != "" { // the operator's way: a CA the system trusts
		fail(os.Setenv("SSL_CERT_FILE", *ca))
	}
	config, err := os.ReadFile(*configRoot)
	fail(err)
	director, err := os.ReadFile(*directorRoot)
	fail(err)

	agentlog.SetupLogger(agentlog.Disabled(), "debug")
	agentlog.SetLogObserver(func(level agentlog.LogLevel, message string) {
		fmt.Fprintf(os.Stderr, "agent %s: %s\n", level, strings.TrimSpace(message))
	})

	options := []service.Option{
		service.WithAPIKey(*apiKey),
		service.WithDatabasePath(*database),
		service.WithDatabaseFileName("remote-config.db"),
		service.WithConfigRootOverride(site, string(config)),
		service.WithDirectorRootOverride(site, string(director)),
	}
	if *refresh > 0 {
		options = append(options, service.WithRefreshInterval(*refresh, "remote_configuration.refresh_interval"))
	}
	tags := func() []string { return []string{"team:interop"} }
	agent, err := service.NewService(
		newSettings(*database), "Remote Config", *url, *hostname, tags, silent{}, agentVersion, options...,
	)
	fail(err)
	agent.Start()

	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGHUP)
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, os.Interrupt)

	client, err := newTracer(*app, *env, strings.Split(*products, ","), director)
	fail(err)
	var seen, shown picture
	for tick := time.NewTicker(pollEvery); ; {
		client.poll(agent, &seen)
		look(agent, &seen)
		if !reflect.DeepEqual(seen, shown) {
			shown = seen
			line, err := json.Marshal(shown)
			fail(err)
			fmt.Printf("%s\n", line)
		}
		select {
		case <-tick.C:
		case <-again:
			client, err = newTracer(*app, *env, strings.Split(*products, ","), director)
			fail(err)
			seen = picture{}
		case <-end:
			fail(agent.Stop())
			return
		}
	}
}
