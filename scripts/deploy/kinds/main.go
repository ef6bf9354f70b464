// Reads objects of the Gateway API and of Envoy Gateway into their own types: a field that does not exist,
// or is of another type, is an error. Objects of other groups are passed over.
package main

import (
	"bytes"
	"fmt"
	"os"

	envoy "github.com/envoyproxy/gateway/api/v1alpha1"
	"k8s.io/apimachinery/pkg/runtime"
	gateway "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"
)

func main() {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{envoy.AddToScheme, gateway.Install} {
		if err := add(scheme); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	failed, read := 0, 0
	for _, path := range os.Args[1:] {
		text, err := os.ReadFile(path)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		for _, document := range bytes.Split(text, []byte("\n---\n")) {
			var header runtime.TypeMeta
			if err := yaml.Unmarshal(document, &header); err != nil {
				fmt.Fprintf(os.Stderr, "%s: %v\n", path, err)
				failed++
				continue
			}
			object, err := scheme.New(header.GroupVersionKind())
			if err != nil {
				continue
			}
			read++
			if err := yaml.UnmarshalStrict(document, object); err != nil {
				fmt.Fprintf(os.Stderr, "%s: %s: %v\n", path, header.Kind, err)
				failed++
			}
		}
	}
	if failed > 0 || read == 0 {
		fmt.Fprintf(os.Stderr, "%d of %d objects are wrong\n", failed, read)
		os.Exit(1)
	}
	fmt.Printf("%d objects of the Gateway API and Envoy Gateway\n", read)
}
