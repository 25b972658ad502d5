package main

import (
	"time"

	"github.com/DataDog/datadog-agent/pkg/config/model"
)

// settings is as much of the Agent's configuration as its remote-config service reads: defaults, nothing set.
// What it does not answer is a nil method, so a version of the service that reads more ends loudly.
type settings struct {
	model.Reader
	values map[string]any
}

func newSettings(runPath string) *settings {
	return &settings{values: map[string]any{"run_path": runPath, "site": site}}
}

func (s *settings) GetString(key string) string { value, _ := s.values[key].(string); return value }

func (s *settings) GetBool(key string) bool { value, _ := s.values[key].(bool); return value }

func (s *settings) GetInt(key string) int { value, _ := s.values[key].(int); return value }

func (s *settings) GetDuration(key string) time.Duration {
	value, _ := s.values[key].(time.Duration)
	return value
}

func (s *settings) GetStringSlice(string) []string { return nil }

func (s *settings) GetProxies() *model.Proxy { return nil }

func (s *settings) IsConfigured(key string) bool { _, set := s.values[key]; return set }

func (s *settings) OnUpdate(model.NotificationReceiver) {}

// silent takes the service's metrics and keeps none.
type silent struct{}

func (silent) IncRateLimit()                              {}
func (silent) IncTimeout()                                {}
func (silent) IncConfigSubscriptionsConnectedCounter()    {}
func (silent) IncConfigSubscriptionsDisconnectedCounter() {}
func (silent) SetConfigSubscriptionsActive(int)           {}
func (silent) SetConfigSubscriptionClientsTracked(int)    {}
