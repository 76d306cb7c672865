// SPDX-License-Identifier: Apache-2.0

package composefs

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// golden are the fs-verity digests of the images that mkcomposefs 1.0.8+ makes of the trees below.
// With GROVE_MKCOMPOSEFS=PROGRAM the test asks that program instead of trusting the table.
var golden = map[string]string{
	"acl":       "0c5361b566add88966de50de0a3d2cfba8ad8d6d1bf19fe7f2d30c157db3864c",
	"digests":   "46f9e0147125c565f6edc58380deddb8d41809b67ed638827b04b48fcf444482",
	"dir100":    "b05ff1af2b70701e04643da8192e67081f047f8af37046cd93f6919122c82de7",
	"dir1000":   "7113202dd39fc372f6502e3ce2ecdc2503c817bc0620cd285c7769736d57f491",
	"dir200":    "dca5bedeba1bb1a226c9d707403ef5878b48537d1cf771b87e5ab59d5ff3b596",
	"dir50":     "3687e69c1754e520a900c7627e9af04aa8903494b72d9fe6af32059546c5c407",
	"dots":      "8976916557254535a7afaf33f19e71a25790d4e0fbcb52e01489fa7bfe756885",
	"empty":     "8f589e8f57ecb88823736b0d857ddca1e1068a23e264fad164b28f7038eb3682",
	"escapes":   "982e5112cbfff083e8903b7402a5cc981f12a67639d56981b4af2eb97e7e0b26",
	"files":     "1abc06a583bfee178cc79a764881ebfebd255f7daed837e85ccffc8ac49bc93b",
	"hardlinks": "6300f176cd20ac757f6decd09a1ca590375679d5cdda066c119c7d525a7088a1",
	"hexnames":  "b77c23f9714f0534549336eb502c7a601bc64b8621e77a2b3fbe88ec29083761",
	"inline":    "7acfedc31f2a38102f8452b4ac694ce3948bb71b8bd908881ab8330e56f80acc",
	"labels":    "650adb77493cb8a7b72018e1be77c12315cdd9e815f71a27b7badbdb2a32379e",
	"owners":    "154905fc4d3be2a3cb894a234ed8aeeb258743f4871cc0ff0854a3f71dedeafc",
	"random0":   "41821b48bf91b939ff2e3202adbf2aa48ab4bd6ea00efda0f8b34847ec2a30a1",
	"random1":   "7514abd61e7b72576f8eab0be0a437b5ef4e73ae29cea783026f0c001dd44de7",
	"random2":   "b8a3ea9255ff9480fad6ab859778faadc7716b85e599778f0fc20f1ebf974550",
	"random3":   "6dea532aa957b2a3ae8876da0f727354b63620bc3187ee817b4b5aaca636cbe4",
	"random4":   "cfa0b5a0a548a1efa7486e7a4341d3cce45e88c106c4daf9151fbecdfbeaba2d",
	"random5":   "00b31e9649f20b343d45dfc867401cbaede2a22e2761a6bc851664311754177e",
	"targets":   "f6be4933a4207a7223a164bf163f0fb8e47d8d715a58da1c7800d6cbf7baf23a",
	"times":     "2d972b668bac3dfc86424f34d6acb19c32de1a5c620d4c520eb6a9176a3743fb",
	"types":     "36967c30b6a0d1706d2a66b22e47c3241f9b73cf8d8daf1ae5a0eda06a12f2eb",
	"whiteouts": "6dd97278b84b5f76253755d1d8caed9e991327f2a82ca3ade0e68c43e47588e1",
}

// worlds are trees in composefs-dump form, each about one corner of the format.
func worlds() map[string]string {
	dir := func(path string) string { return path + " 0 40755 2 0 0 0 0.0 - - -\n" }
	all := map[string]string{
		"empty": dir("/"),
		"files": dir("/") + "/a 5 100644 1 0 0 0 0.0 aa/bb.file - -\n/b 0 100600 1 7 8 0 0.0 - - -\n/c 1 104755 1 0 0 0 0.0 cc/dd.file - -\n" +
			"/d 4096 100644 1 0 0 0 0.0 dd/ee.file - -\n/e 5000000000 100644 1 0 0 0 0.0 ee/ff.file - -\n",
		"digests": dir("/") + "/a 5 100644 1 0 0 0 0.0 aa/bb.file - " + strings.Repeat("5a", 32) + "\n" +
			"/b 5 100644 1 0 0 0 0.0 aa/bb.file - " + strings.Repeat("5a", 32) + "\n/c 6 100644 1 0 0 0 0.0 ab/bb.file - " + strings.Repeat("5b", 32) + "\n",
		"inline": dir("/") + "/a 5 100644 1 0 0 0 0.0 - hello -\n/b 64 100644 1 0 0 0 0.0 - " + strings.Repeat("x", 64) + " -\n",
		"owners": dir("/") + "/big 3 100644 1 100000 0 0 0.0 aa/bb.file - -\n/bigg 3 100644 1 0 65536 0 0.0 aa/bb.file - -\n/max 3 100644 1 65535 65535 0 0.0 aa/bb.file - -\n",
		"times":  "/ 0 40755 2 0 0 0 100.5 - - -\n/old 3 100644 1 0 0 0 7.1 aa/bb.file - -\n/same 3 100644 1 0 0 0 7.1 aa/bc.file - -\n/new 3 100644 1 0 0 0 900.0 aa/bd.file - -\n",
		"types":  dir("/") + "/blk 0 60600 1 0 6 2049 0.0 - - -\n/chr 0 20666 1 0 0 259 0.0 - - -\n/fifo 0 10600 1 0 0 0 0.0 - - -\n/link 4 120777 1 0 0 0 0.0 /etc - -\n/sock 0 140755 1 0 0 0 0.0 - - -\n",
		"hardlinks": dir("/") + dir("/d") + "/d/b 0 @120000 1 0 0 0 0.0 /f - -\n/f 9 100644 3 0 0 0 0.0 aa/bb.file - -\n" +
			"/g 0 @120000 1 0 0 0 0.0 /f - -\n",
		"dots":      dir("/") + dir("/!x") + dir("/-y") + dir("/...") + dir("/.a") + "/!x/! 3 100644 1 0 0 0 0.0 aa/bb.file - -\n",
		"hexnames":  dir("/") + dir("/00") + dir("/ff") + "/7f 3 100644 1 0 0 0 0.0 aa/bb.file - -\n",
		"whiteouts": dir("/") + dir("/d") + "/d/gone 0 20000 1 0 0 0 0.0 - - -\n/d/here 3 100644 1 0 0 0 0.0 aa/bb.file - -\n",
		"escapes":   dir("/") + "/d 0 40755 2 0 0 0 0.0 - - - trusted.overlay.opaque=y trusted.overlay.overlay.x=1\n",
		"acl": dir("/") + "/d 0 40755 2 0 0 0 0.0 - - - system.posix_acl_access=abc system.posix_acl_default=de\n" +
			"/e 3 100644 1 0 0 0 0.0 aa/bb.file - - security.capability=\\x01\\x00\\x00\\x02 user.a=b system.other=c\n",
	}
	selinux := "security.selinux=system_u:object_r:usr_t:s0\\x00"
	all["labels"] = "/ 0 40755 2 0 0 0 0.0 - - - security.selinux=system_u:object_r:root_t:s0\\x00\n"
	for i := range 300 {
		all["labels"] += fmt.Sprintf("/f%d %d 100644 1 0 0 0 0.0 %02x/%03d.file - - %s\n", i, i+1, i%256, i, selinux)
	}
	all["targets"] = dir("/")
	for _, n := range []int{1, 30, 2000, 3900, 4031, 4032, 4063, 4064, 4065, 4095} {
		all["targets"] += fmt.Sprintf("/l%04d %d 120777 1 0 0 0 0.0 %s - -\n", n, n, strings.Repeat("t", n))
	}
	for _, n := range []int{50, 100, 200, 1000} {
		s := dir("/") + dir("/d")
		for i := range n {
			s += fmt.Sprintf("/d/name-of-some-length-%05d %d 100644 1 0 0 0 0.0 %02x/%05d.file - -\n", i, i+1, i%256, i)
		}
		all[fmt.Sprintf("dir%d", n)] = s
	}
	for seed := range 6 {
		all[fmt.Sprintf("random%d", seed)] = randomDump(uint64(seed), 150*(seed+1))
	}
	return all
}

// randomDump makes a tree of everything in all sizes. A seed always makes the same.
func randomDump(seed uint64, entries int) string {
	r := rand.New(rand.NewPCG(seed, 42))
	dirs := []string{""}
	var b strings.Builder
	b.WriteString("/ 0 40755 2 0 0 0 0.0 - - -\n")
	letters := "abcdefghijklmnopqrstuvwxyz.-_+ABCXYZ"
	for i := range entries {
		var name strings.Builder
		for range 1 + r.IntN(1+r.IntN(60)) {
			name.WriteByte(letters[r.IntN(len(letters))])
		}
		path := fmt.Sprintf("%s/%s%d", dirs[r.IntN(len(dirs))], name.String(), i)
		owner := fmt.Sprintf("%d %d", r.IntN(3)*r.IntN(70000), r.IntN(2)*r.IntN(70000))
		var xs strings.Builder
		for k := range r.IntN(4) * r.IntN(2) {
			fmt.Fprintf(&xs, " %s%d=%s", []string{"user.k", "security.k", "trusted.k"}[r.IntN(3)], k, strings.Repeat("v", r.IntN(1+r.IntN(900))))
		}
		switch r.IntN(8) {
		case 0, 1:
			fmt.Fprintf(&b, "%s 0 40755 2 %s 0 0.0 - - -%s\n", path, owner, xs.String())
			dirs = append(dirs, path)
		case 2:
			n := 1 + r.IntN(1+r.IntN(4095))
			fmt.Fprintf(&b, "%s %d 120777 1 %s 0 0.0 %s - -%s\n", path, n, owner, strings.Repeat("t", n), xs.String())
		case 3:
			n := 1 + r.IntN(64)
			fmt.Fprintf(&b, "%s %d 100644 1 %s 0 0.0 - %s -%s\n", path, n, owner, strings.Repeat("c", n), xs.String())
		default:
			fmt.Fprintf(&b, "%s %d 100755 1 %s 0 0.0 %02x/%d.file - -%s\n", path, 1+r.Int64N(1<<uint(r.IntN(40))), owner, r.IntN(256), r.IntN(50), xs.String())
		}
	}
	return b.String()
}

func TestImagesAreThoseOfMkcomposefs(t *testing.T) {
	tool := os.Getenv("GROVE_MKCOMPOSEFS")
	var table strings.Builder
	for name, dump := range worlds() {
		t.Run(name, func(t *testing.T) {
			root, err := readDump(strings.NewReader(dump))
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			info, err := finish(&out, root, true)
			if err != nil {
				t.Fatal(err)
			}
			want := golden[name]
			if tool != "" {
				var wrote []byte
				want, wrote = mkcomposefs(t, tool, dump)
				fmt.Fprintf(&table, "\t%q: %q,\n", name, want)
				if !bytes.Equal(wrote, out.Bytes()) {
					t.Errorf("image differs first at byte %d of %d, theirs has %d", firstDifference(wrote, out.Bytes()), out.Len(), len(wrote))
				}
			}
			if got := hex.EncodeToString(info.Digest[:]); got != want {
				t.Errorf("digest %s, want %s", got, want)
			}
			if info.SizeBytes != int64(out.Len()) {
				t.Errorf("says %d bytes, wrote %d", info.SizeBytes, out.Len())
			}
			fsck(t, out.Bytes())
		})
	}
	if table.Len() > 0 {
		t.Log("the table:\n" + table.String())
	}
}

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

func mkcomposefs(t *testing.T, tool, dump string) (digest string, image []byte) {
	file := filepath.Join(t.TempDir(), "image")
	cmd := exec.Command(tool, "--from-file", "--print-digest", "-", file)
	cmd.Stdin = strings.NewReader(dump)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("mkcomposefs: %v", err)
	}
	image, err = os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out)), image
}

// fsck asks erofs-utils whether they can read the image.
func fsck(t *testing.T, image []byte) {
	t.Helper()
	tool, err := exec.LookPath("fsck.erofs")
	if err != nil {
		if os.Getenv("GROVE_CI") == "1" {
			t.Fatal("needs fsck.erofs of erofs-utils")
		}
		return // the digests say it as well
	}
	file := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(file, image, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(tool, file).CombinedOutput(); err != nil {
		t.Errorf("fsck.erofs: %v\n%s", err, out)
	}
}

func TestXXH32(t *testing.T) {
	for _, c := range []struct {
		text string
		seed uint32
		want uint32
	}{
		{"", 0, 0x02cc5d05}, {"", 1, 0x0b2cb792}, {"a", 0, 0x550d7456}, {"abc", 0, 0x32d153ff},
		{"Nobody inspects the spammish repetition", 0, 0xe2293b2f},
	} {
		if got := xxh32([]byte(c.text), c.seed); got != c.want {
			t.Errorf("xxh32(%q, %d) = %#x, want %#x", c.text, c.seed, got, c.want)
		}
	}
}
