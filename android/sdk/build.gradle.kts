import org.jetbrains.kotlin.gradle.dsl.JvmTarget

plugins {
    alias(libs.plugins.android.library)
    alias(libs.plugins.kotlin.android)
    `maven-publish`
}

group = "ai.dyno"
version = "0.1.0"

android {
    namespace = "ai.dyno.sdk"
    compileSdk = libs.versions.compileSdk.get().toInt()

    defaultConfig {
        // What onnxruntime-android needs.
        minSdk = libs.versions.minSdk.get().toInt()
        consumerProguardFiles("consumer-rules.pro")
        // What `make android-libs` builds: phones, and emulators on a PC.
        ndk { abiFilters += listOf("arm64-v8a", "x86_64") }
    }

    // libdyno_sdk.so lies in src/main/jniLibs, where `make android-libs` writes it, aligned to pages of
    // 16 KB. The tests run with Maven, over Robolectric and the machine's own build of the library.
    sourceSets["test"].java.setSrcDirs(emptyList<String>())
    sourceSets["test"].kotlin.setSrcDirs(emptyList<String>())

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_11
        targetCompatibility = JavaVersion.VERSION_11
    }

    publishing { singleVariant("release") { withSourcesJar() } }
}

kotlin {
    explicitApi()
    compilerOptions { jvmTarget = JvmTarget.JVM_11 }
}

publishing {
    publications {
        register<MavenPublication>("release") { afterEvaluate { from(components["release"]) } }
    }
}

// The version of the crate in Cargo.lock: its Rust half and its Kotlin half belong together.
val verifierVersion = file("../../Cargo.lock").readText()
    .substringAfter("name = \"rustls-platform-verifier-android\"\nversion = \"")
    .substringBefore('"')

dependencies {
    // The library brings JNA's jar, which holds no native code for Android; the AAR does, and both
    // together would be the same classes twice.
    api(project(":lib")) { exclude(group = "net.java.dev.jna", module = "jna") }
    implementation(variantOf(libs.jna) { artifactType("aar") })
    // Brings libonnxruntime.so, which the native library loads by its name.
    implementation(libs.onnxruntime)
    // Verifies servers' certificates by what the phone trusts; the native library calls it.
    implementation("rustls:rustls-platform-verifier:$verifierVersion")
}
