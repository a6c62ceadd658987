package candorv1_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	candorv1 "candor/proto/candor/v1"
)

func TestWord(t *testing.T) {
	t.Parallel()
	for want, e := range map[string]protoreflect.Enum{
		"sms":         candorv1.Channel_CHANNEL_SMS,
		"waiting":     candorv1.NoticeState_NOTICE_STATE_WAITING,
		"unspecified": candorv1.IncidentState_INCIDENT_STATE_UNSPECIFIED,
		"77":          candorv1.CallState(77),
	} {
		if got := candorv1.Word(e); got != want {
			t.Errorf("%v is %q, want %q", e, got, want)
		}
	}
}

// Every enum has a first value by which the others are cut.
func TestEveryEnumHasWords(t *testing.T) {
	t.Parallel()
	n := 0
	for _, file := range []protoreflect.FileDescriptor{
		candorv1.File_candor_v1_common_proto, candorv1.File_candor_v1_journal_proto, candorv1.File_candor_v1_breach_proto,
		candorv1.File_candor_v1_plan_proto, candorv1.File_candor_v1_api_proto, candorv1.File_candor_v1_ledger_proto,
		candorv1.File_candor_v1_roster_proto, candorv1.File_candor_v1_calls_proto, candorv1.File_candor_v1_team_proto,
	} {
		for i := range file.Enums().Len() {
			values := file.Enums().Get(i).Values()
			prefix, ok := strings.CutSuffix(string(values.ByNumber(0).Name()), "UNSPECIFIED")
			for j := range values.Len() {
				n++
				if name := string(values.Get(j).Name()); !ok || !strings.HasPrefix(name, prefix) {
					t.Errorf("%s does not begin with %q", name, prefix)
				}
			}
		}
	}
	if n == 0 {
		t.Fatal("no enum was seen")
	}
}
