package journal

import candorv1 "candor/proto/candor/v1"

// NotInWave is why a customer on file was not told who has no notice at all.
const NotInWave = "not_in_wave"

// Weight orders the notices of one customer; the heaviest speaks for the customer. One that was sent beats all. Then comes
// what may still be sent, what a person must look at first; then why nothing was.
func Weight(s candorv1.NoticeState) int {
	switch s {
	case candorv1.NoticeState_NOTICE_STATE_DELIVERED:
		return 9
	case candorv1.NoticeState_NOTICE_STATE_ACCEPTED:
		return 8
	case candorv1.NoticeState_NOTICE_STATE_UNCERTAIN:
		return 7
	case candorv1.NoticeState_NOTICE_STATE_INTENDED:
		return 6
	case candorv1.NoticeState_NOTICE_STATE_WAITING:
		return 5
	case candorv1.NoticeState_NOTICE_STATE_PLANNED:
		return 4
	case candorv1.NoticeState_NOTICE_STATE_FAILED:
		return 3
	case candorv1.NoticeState_NOTICE_STATE_EXPIRED:
		return 2
	case candorv1.NoticeState_NOTICE_STATE_SUPPRESSED:
		return 1
	}
	return 0
}
