//go:build !race

package frontdoor

const raceDetector = false
