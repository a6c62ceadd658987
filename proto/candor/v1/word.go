// Package candorv1 is what Candor writes to its streams and says over its API, generated from the .proto files, and the words for it.
package candorv1

import (
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Word is the value of an enum as commands, reports and stable codes write it: leased for CALL_STATE_LEASED. A value
// that this version does not know is its number.
func Word(e protoreflect.Enum) string {
	values := e.Descriptor().Values()
	v := values.ByNumber(e.Number())
	if v == nil {
		return strconv.Itoa(int(e.Number()))
	}
	prefix := strings.TrimSuffix(string(values.ByNumber(0).Name()), "UNSPECIFIED")
	return strings.ToLower(strings.TrimPrefix(string(v.Name()), prefix))
}
