package api_test

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"candor/pkg/token"
	candorv1 "candor/proto/candor/v1"
)

// actions says which roles may call what; a method that is not here fails the test.
var actions = map[string][]token.Role{
	"Declare": {token.Commander, token.Machine}, "Approve": {token.Approver}, "Reject": {token.Commander, token.Approver},
	"GetIncident": viewers, "GetRoster": viewers, "ListIncidents": viewers, "Preview": viewers,
	"Pause": {token.Commander, token.Approver}, "Resume": {token.Commander}, "Abort": {token.Commander, token.Approver},
	"Shred": {token.Admin, token.Commander}, "Resend": {token.Commander},
	"Update": {token.Commander}, "DecideFollowUp": {token.Commander}, "Close": {token.Commander}, "Reopen": {token.Commander}, "GetTimeline": viewers,
	"GetStatus": viewers, "WatchStatus": viewers, "ListNotices": viewers, "ExportNotices": viewers, "ListDeadLetters": viewers,
	"ListUnreached": viewers, "Find": {token.Admin, token.Commander, token.Approver, token.Dialer},
	"AddSuppressions": keepers, "RemoveSuppressions": keepers, "ExportSuppressions": keepers, "ImportSuppressions": keepers,
	"SettleUncertain": {token.Commander}, "ReplayDeadLetters": {token.Admin, token.Commander},
	"Claim": dialers, "Renew": dialers, "Release": dialers, "Complete": dialers,
	"Add": askers, "Explain": askers, "GetScript": askers, "GetQueue": askers,
	"ListAlerts": viewers, "Acknowledge": viewers,
	"CreateToken": {token.Admin}, "ListTokens": {token.Admin}, "RevokeToken": {token.Admin},
}

var viewers = []token.Role{token.Admin, token.Commander, token.Approver, token.Viewer, token.Machine}

var (
	dialers = []token.Role{token.Dialer}
	askers  = []token.Role{token.Admin, token.Commander, token.Approver, token.Dialer}
)

var keepers = []token.Role{token.Admin, token.Commander}

var roles = []token.Role{token.Admin, token.Commander, token.Approver, token.Viewer, token.Dialer, token.Machine}

func TestEveryMethodAsksWhoIsCalling(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	bearers := map[token.Role]string{}
	for _, r := range roles {
		bearers[r] = h.token("person "+string(r), r)
	}
	revoked := h.token("gone", roles...)
	if err := h.tokens.Revoke(t.Context(), strings.Split(revoked, "_")[1]); err != nil {
		t.Fatal(err)
	}
	var services []protoreflect.ServiceDescriptor
	for _, file := range []protoreflect.FileDescriptor{candorv1.File_candor_v1_api_proto, candorv1.File_candor_v1_calls_proto} {
		for i := range file.Services().Len() {
			services = append(services, file.Services().Get(i))
		}
	}
	for _, service := range services {
		for j := range service.Methods().Len() {
			m := service.Methods().Get(j)
			allowed, known := actions[string(m.Name())]
			if !known {
				t.Errorf("nobody said who may call %s", m.FullName())
			}
			for _, bearer := range []string{"", "cdr_nonsense", revoked, bearers[token.Admin] + "x"} {
				if code := h.call(m, bearer); code != connect.CodeUnauthenticated {
					t.Errorf("%s with token %.12q: %s", m.Name(), bearer, code)
				}
			}
			for _, r := range roles {
				code := h.call(m, bearers[r])
				if denied := code == connect.CodePermissionDenied; denied == slices.Contains(allowed, r) {
					t.Errorf("%s as %s: %s", m.Name(), r, code)
				}
			}
		}
	}
	for _, r := range roles {
		status, body := h.put(bearers[r], "x", nil, bytes.NewReader(nil)) // an id too short, so that nothing happens
		if allowed := r == token.Commander || r == token.Machine; (status == http.StatusForbidden) == allowed {
			t.Errorf("upload as %s: %d %s", r, status, body)
		}
	}
	if status, body := h.put("", "x", nil, nil); status != http.StatusUnauthorized || !strings.Contains(string(body), "candor token") {
		t.Errorf("upload without a token: %d %s", status, body)
	}
}

// call makes an empty request, which no method takes but after the question who is calling.
func (h *house) call(m protoreflect.MethodDescriptor, bearer string) connect.Code {
	h.t.Helper()
	url := h.url + "/" + string(m.Parent().FullName()) + "/" + string(m.Name())
	opts := []connect.ClientOption{connect.WithInterceptors(withBearer(bearer)), connect.WithSchema(m), connect.WithResponseInitializer(dynamic)}
	client := connect.NewClient[dynamicpb.Message, dynamicpb.Message](h.client, url, opts...)
	req := connect.NewRequest(dynamicpb.NewMessage(m.Input()))
	var err error
	if m.IsStreamingServer() {
		var stream *connect.ServerStreamForClient[dynamicpb.Message]
		if stream, err = client.CallServerStream(h.t.Context(), req); err == nil {
			for stream.Receive() {
			}
			err = stream.Err()
			stream.Close()
		}
	} else {
		_, err = client.CallUnary(h.t.Context(), req)
	}
	if err == nil {
		return 0
	}
	return connect.CodeOf(err)
}

func dynamic(spec connect.Spec, msg any) error {
	if m, ok := spec.Schema.(protoreflect.MethodDescriptor); ok {
		if d, ok := msg.(*dynamicpb.Message); ok {
			*d = *dynamicpb.NewMessage(m.Output())
		}
	}
	return nil
}

func TestAdminMakesAndRevokesTokens(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	root := h.as(h.token("root", token.Admin))
	made, err := root.tokens.CreateToken(t.Context(), connect.NewRequest(&candorv1.CreateTokenRequest{
		Name: "vic@example", Roles: []candorv1.Role{candorv1.Role_ROLE_VIEWER, candorv1.Role_ROLE_DIALER},
	}))
	if err != nil {
		t.Fatal(err)
	}
	vic := h.as(made.Msg.GetSecret())
	if _, err := vic.incidents.ListIncidents(t.Context(), connect.NewRequest(&candorv1.ListIncidentsRequest{})); err != nil {
		t.Error(err)
	}
	list, err := root.tokens.ListTokens(t.Context(), connect.NewRequest(&candorv1.ListTokensRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list.Msg.GetTokens(), func(k *candorv1.Token) bool { return k.GetId() == made.Msg.GetToken().GetId() })
	if i < 0 || len(list.Msg.GetTokens()[i].GetRoles()) != 2 || strings.Contains(list.Msg.String(), made.Msg.GetSecret()) {
		t.Errorf("list is %v", list.Msg)
	}
	for range 2 {
		if _, err := root.tokens.RevokeToken(t.Context(), connect.NewRequest(&candorv1.RevokeTokenRequest{Id: made.Msg.GetToken().GetId()})); err != nil {
			t.Fatal(err)
		}
	}
	_, err = vic.incidents.ListIncidents(t.Context(), connect.NewRequest(&candorv1.ListIncidentsRequest{}))
	wantCode(t, err, connect.CodeUnauthenticated)
	_, err = root.tokens.RevokeToken(t.Context(), connect.NewRequest(&candorv1.RevokeTokenRequest{Id: "nobody"}))
	wantCode(t, err, connect.CodeNotFound)
	_, err = root.tokens.CreateToken(t.Context(), connect.NewRequest(&candorv1.CreateTokenRequest{Name: "x", Roles: []candorv1.Role{99}}))
	wantCode(t, err, connect.CodeInvalidArgument)
	if strings.Contains(h.log.String(), made.Msg.GetSecret()) {
		t.Error("the token is in the log")
	}
}
